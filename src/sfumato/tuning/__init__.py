"""Learned tables: a solver fitted to one model."""
