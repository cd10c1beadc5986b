"""A swiss roll dissolves and comes back: Gaussian diffusion in the plane, after figure 1 of Sohl-Dickstein et al. 2015.

    python examples/swiss_roll.py [swiss_roll.png]        about a minute on one core; needs sfumato[plot]

Above: data goes to noise. Middle: noise goes to data, with a small network. Below: where the network sends each point
in one step. Right: the density that it has learned, by the probability-flow ODE.
"""

import math
import sys

import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.diffusion.bound import variational_bound
from sfumato.diffusion.density import flow_likelihood
from sfumato.diffusion.draws import uniform
from sfumato.diffusion.reverse import reverse_coefficients
from sfumato.seeds import Stream, noise, torch_seed

DIFFUSION = sf.Diffusion(sf.NoiseSchedule.cosine(steps=100).zero_terminal_snr(), prediction="v")
SCHEDULE = DIFFUSION.schedule


BLUR = 0.06


def spiral(share: Tensor) -> Tensor:
    """(N, 2), the points at these shares of the way along it. Their variance is about 1."""
    angle = 1.5 * torch.pi * (1 + 2 * share)
    return torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / 7


def swiss_roll(count: int, seed: int) -> Tensor:
    """(count, 2) points of the spiral, a little blurred."""
    shares = uniform([seed], (count,), Stream.ORDER)[0].float()
    return spiral(shares) + BLUR * noise([seed], (count, 2), Stream.ORDER, 1)[0]


def true_bits(x: Tensor) -> Tensor:
    """-log2 of the density of the data at x (N, 2), summed over 4000 places of the spiral."""
    squares = torch.cdist(x.double(), spiral((torch.arange(4000) + 0.5) / 4000).double()) ** 2
    log_density = torch.logsumexp(-squares / (2 * BLUR**2), 1) - math.log(4000 * 2 * math.pi * BLUR**2)
    return -log_density / math.log(2)


class Network(nn.Module):
    """(x_t (N, 2), t) -> v (N, 2)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 8, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2),
        )

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        angles = torch.as_tensor(t).float().expand(len(x))[:, None] * torch.pi * torch.tensor([0.5, 1, 2, 4])
        return self.layers(torch.cat([x, angles.sin(), angles.cos()], 1))


def train(steps: int, batch: int = 512) -> Network:
    torch.manual_seed(torch_seed(0, 0, Stream.WEIGHTS))
    network = Network()
    optimizer = torch.optim.Adam(network.parameters())
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 3 * min(1, 2 * (1 - k / steps)))
    for k in range(steps):
        x0, fresh = swiss_roll(batch, seed=k + 1), noise([0], (batch, 2), Stream.TRAIN_NOISE, k)[0]
        t = (uniform([0], (batch,), Stream.TRAIN_CHOICE, k)[0] * SCHEDULE.steps + 1).floor() / SCHEDULE.steps
        loss = DIFFUSION.loss(network(DIFFUSION.noisy(x0, t, fresh), t), x0, t, fresh).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return network.requires_grad_(False)


def main(path: str = "swiss_roll.png", steps: int = 6000, count: int = 2000, side: int = 90) -> None:
    from matplotlib.figure import Figure

    network = train(steps)

    def denoise(x: Tensor, t: float) -> Tensor:
        return DIFFUSION.denoised(network(x, t), x, t)

    data = swiss_roll(count, seed=0)
    figure = Figure(figsize=(17.5, 9), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[9, 8.5])[0]
    panels = left.subplots(3, 3, sharex=True, sharey=True)

    table = sf.solvers.get("ddpm", SCHEDULE, steps=SCHEDULE.steps, spacing="trailing", variance="large")
    x = noise(range(count), (2,), Stream.START)
    reverse = {1.0: x} | {
        round(float(table.times[step.i + 1]), 6): step.x for step in sf.steps(denoise, x, table, seeds=range(count))
    }
    square = torch.linspace(-2, 2, 17)
    points = torch.cartesian_prod(square, square)
    for column, t in enumerate((0.0, 0.2, 1.0)):
        forward = DIFFUSION.noisy(data, t, noise([0], (count, 2), Stream.HELD_OUT)[0])
        later = max(t, 2 / SCHEDULE.steps)  # of the last step nothing is left to see: it goes to x̂0 itself
        a, b, _ = reverse_coefficients(SCHEDULE, later - 1 / SCHEDULE.steps, later)
        drift = a * points + b * denoise(points, later) - points
        for row, cloud in enumerate((forward, reverse[t])):
            panels[row, column].scatter(*cloud.T.numpy(), s=2, linewidths=0, color=("#30507a", "#a33b2a")[row])
        panels[2, column].quiver(*points.T.numpy(), *drift.T.numpy(), color="0.25", angles="xy", width=0.006)
        panels[0, column].set_title(f"t = {t:g}")
    for row, what in enumerate(("forward: data to noise", "reverse: noise to data", "drift of one step")):
        panels[row, 0].set_ylabel(what)
        for axes in panels[row]:
            axes.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal", xticks=[], yticks=[])

    line = torch.linspace(-2.3, 2.3, side)
    grid = torch.cartesian_prod(line, line)
    density = flow_likelihood(SCHEDULE, denoise, grid, probes=None, steps=25).log_density.exp().reshape(side, side)
    some = data[:500]
    flow = 2 * flow_likelihood(SCHEDULE, denoise, some, probes=None, steps=25).bits.mean()
    bound = (
        2
        * variational_bound(
            SCHEDULE, denoise, some, [(0, i) for i in range(len(some))], variance="large", decoder="density"
        ).total.mean()
    )
    print(f"a new point costs {true_bits(some).mean():.3f} bits in truth, {flow:.3f} by the network's flow,")
    print(f"and at most {bound:.3f} in its {SCHEDULE.steps} random steps (the variational bound)")
    print(f"on the grid the density adds up to {density.sum() * (line[1] - line[0]) ** 2:.4f}")
    axes = right.subplots()
    axes.imshow(
        density.T.numpy(), origin="lower", extent=(-2.3, 2.3, -2.3, 2.3), cmap="magma", interpolation="bilinear"
    )
    axes.set(title="the density that the network has learned", xticks=[], yticks=[])
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "swiss_roll.png")
