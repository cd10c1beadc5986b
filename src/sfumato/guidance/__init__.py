"""Guidance: denoisers around a denoiser."""
