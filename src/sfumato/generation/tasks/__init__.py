"""Other ways to a picture than from noise alone: each is another start, or a denoiser around the denoiser."""
