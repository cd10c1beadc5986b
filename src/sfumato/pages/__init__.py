"""Pages to look at, each one file that loads nothing and runs nothing: their pieces."""
