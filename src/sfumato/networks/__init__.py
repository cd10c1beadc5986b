"""Networks: the configurable U-Net and what it is made of."""
