"""Digits of 12x12 pixels, and the classifier that names them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.data.sources import open_data
from sfumato.seeds import Stream, permutation, torch_seed

__all__ = ["SIDE", "DigitNet", "accuracy", "digits", "shrunk", "trained"]

SIDE = 12
BORDER = 2  # pixels of MNIST's 28 that are left out; what is written lies in the middle 20
BATCH, EPOCHS, LR = 128, 3, 2e-3


def shrunk(images: np.ndarray) -> Tensor:
    """Digits uint8 (N, 28, 28, 1) -> (N, 1, 12, 12) in [-1, 1]: the middle 24x24, by means of 2x2 pixels."""
    middle = images[:, BORDER:-BORDER, BORDER:-BORDER, 0].astype(np.float32)
    return torch.from_numpy(middle.reshape(-1, SIDE, 2, SIDE, 2).mean((2, 4)) / 127.5 - 1)[:, None]


def digits(split: str) -> tuple[Tensor, Tensor]:
    """MNIST's "train" or "test": pictures (N, 1, 12, 12) in [-1, 1], labels (N,)."""
    data = open_data("mnist" if split == "train" else f"mnist/{split}")
    return shrunk(data.images), torch.from_numpy(data.labels[:, 0])


class DigitNet(nn.Module):
    """Three convolutions, 64 features, ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64 * (SIDE // 4) ** 2, 64), nn.ReLU()),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 12, 12) -> logits (N, 10), features (N, 64)."""
        features = self.body(x)
        return self.head(features), features


def trained(x: Tensor, labels: Tensor, seed: int = 0) -> DigitNet:
    """A classifier of pictures (N, 1, 12, 12), in evaluation mode, without gradients. Adam, one cycle."""
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(seed, 0, Stream.WEIGHTS))
        net = DigitNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=EPOCHS * -(-len(x) // BATCH))
    for epoch in range(EPOCHS):
        for index in torch.from_numpy(permutation(len(x), seed, Stream.ORDER, epoch)).split(BATCH):
            loss = F.cross_entropy(net(x[index])[0], labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(net: DigitNet, x: Tensor, labels: Tensor) -> float:
    """Share of pictures that are named rightly."""
    named = torch.cat([net(part)[0].argmax(1) for part in x.split(1000)])
    return (named == labels).double().mean().item()
