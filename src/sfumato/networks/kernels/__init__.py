"""Convolutions with fewer multiplications, and normalisation in one go, for CPUs."""
