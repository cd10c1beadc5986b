"""Models as folders: description, weights, card."""
