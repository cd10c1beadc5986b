"""A short training run with the kernels and one without them: the same losses, but for rounding."""

import pytest
import torch

from sfumato.networks.config import UNetConfig
from sfumato.networks.kernels import build, conv, norm
from sfumato.networks.unet import UNet

pytestmark = pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")
CONFIG = UNetConfig(channels=32, multipliers=(1, 2), attention_levels=(1,), groups=8)
STEPS, PICTURES, SIZE = 25, 8, 16


def losses():
    """Of a network that learns to take the noise out of plain discs."""
    torch.manual_seed(0)
    network = UNet(CONFIG).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    draw, places = torch.Generator().manual_seed(1), torch.linspace(-1, 1, SIZE)
    found = []
    for _ in range(STEPS):
        centre, t = torch.rand(2, PICTURES, 1, 1, 1, generator=draw) - 0.5, torch.rand(PICTURES, generator=draw)
        far = (places[:, None] - centre[0]).square() + (places - centre[1]).square()
        x0 = (far < 0.2).float().expand(-1, 3, -1, -1)
        level = t[:, None, None, None]
        noise = torch.randn(x0.shape, generator=draw)
        loss = (network((1 - level) * x0 + level * noise, t) - x0).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return torch.tensor(found)


def counted(work, name, calls):
    def function(*args):
        calls[name] += 1
        return work(*args)

    return function


def test_the_same_losses_with_and_without_kernels(monkeypatch):
    calls = {"conv3x3": 0, "normalised": 0}
    with monkeypatch.context() as watch:
        for module, name in ((conv, "conv3x3"), (norm, "normalised")):
            watch.setattr(module, name, counted(getattr(module, name), name, calls))
        ours = losses()
    assert all(count >= 4 * STEPS for count in calls.values())
    monkeypatch.setattr(conv, "available", lambda: False)
    monkeypatch.setattr(norm, "available", lambda: False)
    torchs = losses()
    assert torchs[5:].mean() < 0.5 * torchs[0]
    assert not torch.equal(ours, torchs)
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=0)
