"""A heartbeat in bits: binomial diffusion, after figure 2 and table 1 of Sohl-Dickstein et al. 2015.

    python examples/binary_sequence.py [binary_sequence.png]        about a minute on one core; needs sfumato[plot]

The data are sequences of 20 bits with a beat at every fifth: five of them, so that one costs log2 5 = 2.322 bits. With
the true p(x_0|x_t), which is known here, the bound is a little more, because a step draws its bits one by one. What the
network adds to that is what it has not learned.
"""

import math
import sys

import torch
from torch import Tensor, nn

from sfumato.diffusion.draws import uniform
from sfumato.discrete.betas import mutual_information
from sfumato.discrete.bound import hybrid_loss, variational_bound
from sfumato.discrete.chain import Chain, categorical
from sfumato.discrete.sample import sample
from sfumato.seeds import Stream, torch_seed

BITS, PERIOD, STEPS = 20, 5, 200
CHAIN = Chain.uniform(mutual_information(STEPS), states=2)  # two states: Sohl-Dickstein's binomial diffusion
BEATS = (torch.arange(BITS) % PERIOD == torch.arange(PERIOD)[:, None]).long()  # (5, 20) all there are


def truth(x: Tensor, t: float) -> Tensor:
    """Logits (N, 20, 2) of the true p(x_0|x_t), by Bayes' rule over the five."""
    of_bit = CHAIN.likelihood(x, t, 0.0).log()  # q(x_t|x_0 = k), bit by bit
    of_beat = torch.stack([of_bit.gather(-1, beat.expand(len(x), -1)[..., None]).sum((1, 2)) for beat in BEATS], 1)
    one = torch.softmax(of_beat, 1) @ BEATS.double()
    return torch.stack([1 - one, one], -1).clamp(min=0).log()


class Network(nn.Module):
    """(x_t (N, 20), t) -> logits of x_0 (N, 20, 2)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(BITS + 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * BITS)
        )

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        time = torch.as_tensor(t).float().expand(len(x))[:, None]
        return self.layers(torch.cat([2.0 * x - 1, 2 * time - 1, (1 - time + 0.01).log()], 1)).reshape(len(x), BITS, 2)


def train(steps: int, batch: int = 256) -> Network:
    torch.manual_seed(torch_seed(0, 0, Stream.WEIGHTS))
    network = Network()
    optimizer = torch.optim.Adam(network.parameters())
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 3 * min(1, 2 * (1 - k / steps)))
    for k in range(steps):
        which, when = uniform([0], (2, batch), Stream.TRAIN_CHOICE, k)[0]
        x0, t = BEATS[(which * PERIOD).long()], (when * STEPS + 1).floor() / STEPS
        xt = CHAIN.draw(x0, t, uniform([0], (batch, BITS), Stream.TRAIN_NOISE, k)[0])
        loss = hybrid_loss(CHAIN, network(xt, t), x0, xt, t, weight=0.01).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return network.requires_grad_(False)


def main(path: str = "binary_sequence.png", steps: int = 3000, count: int = 400) -> None:
    from matplotlib.figure import Figure

    network = train(steps)
    x0, seeds = BEATS[torch.arange(count) % PERIOD], [(1, i) for i in range(count)]
    curves, totals = {}, {}
    for name, predict in (("network", network), ("true p(x_0|x_t)", truth)):
        bound = variational_bound(CHAIN, predict, x0, seeds)
        terms = BITS * torch.cat([bound.prior[:, None], bound.terms], 1)
        curves[name] = terms.mean(0).cumsum(0)
        totals[name] = curves[name][-1].item()
        error = terms.sum(1).std() / count**0.5
        print(f"{name}: {totals[name]:.3f} ± {error:.3f} bits a sequence; the truth is {math.log2(PERIOD):.3f}")

    moments = []

    def watched(x: Tensor, t: float) -> Tensor:
        moments.append(x[0])
        return network(x, t)

    drawn = sample(CHAIN, watched, range(100), (BITS,))
    right = (drawn[:, None] == BEATS).all(2)
    print(f"{right.any(1).float().mean():.1%} of 100 samples are heartbeats; how often each: {right.sum(0).tolist()}")

    figure = Figure(figsize=(14, 6), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 2.4])
    forward = [x0[0]]
    for k, step in enumerate(CHAIN.single):
        forward.append(categorical(step[forward[-1]], uniform([2], (BITS,), Stream.STEP, k)[0]))
    ways = {"forward: a beat dissolves": forward, "reverse: a beat is found": [*moments, drawn[0]][::-1]}
    for panel, (title, rows) in zip(axes, ways.items(), strict=False):
        panel.imshow(
            torch.stack(rows).numpy(), aspect="auto", cmap="gray_r", extent=(0, BITS, 1, 0), interpolation="nearest"
        )
        panel.set(title=title, xlabel="bit", ylabel="t")
    axes[2].imshow(drawn[:60].numpy(), aspect="auto", cmap="gray_r", interpolation="nearest")
    axes[2].set(title="60 samples", xlabel="bit", yticks=[])
    for (name, curve), style in zip(curves.items(), ("-", "--"), strict=True):
        axes[3].plot(
            [1 - k / STEPS for k in range(STEPS + 1)], curve.tolist(), style, label=f"{name}: {totals[name]:.3f} bits"
        )
    axes[3].axhline(math.log2(PERIOD), color="0.6", linewidth=1, label=f"log2 5 = {math.log2(PERIOD):.3f} bits")
    axes[3].set(title="bits received, from noise to data", xlabel="t", xlim=(1, 0), ylim=(0, None))
    axes[3].legend(loc="lower right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "binary_sequence.png")
