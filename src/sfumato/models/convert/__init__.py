"""Models of other libraries' making, and ours for them. Names and shapes change, numbers do not."""
