"""Making pictures with a model."""
