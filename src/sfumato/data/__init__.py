"""Data sets: folders of pictures, packed files, and known ones by name."""
