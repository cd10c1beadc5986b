"""Diffusion beside two GANs of equal size, in equal time, on data whose modes can be counted."""
