"""Convolutions with fewer multiplications, for CPUs."""
