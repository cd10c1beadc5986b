"""Diffusion of values that are one of K: bits, letters, levels (Sohl-Dickstein et al. 2015; Austin et al. 2021).

`betas` → `chain` (q: data → noise) → `reverse` (p: noise → data) → `bound` (what it costs in bits) and `sample`.
Time is as everywhere: t = 0 is data, t = 1 is noise; but a chain knows only its own steps, t = 0, 1/T … 1.
"""
