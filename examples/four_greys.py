"""Pictures of four greys: discrete diffusion (D3PM) with three kinds of noise, after Austin et al. 2021.

    python examples/four_greys.py [four_greys.png]                  some minutes on one core; needs sfumato[plot]

The shipped emoji, 16 pixels wide, each pixel one of four greys. The same small network learns to undo a value's being
drawn anew (uniform), being hidden (absorbing: a fifth state), and drifting to its neighbours (gaussian). What pictures
that it has not seen cost, in bits a pixel, is set beside a code that knows how often each grey is at each place.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import sfumato as sf
from sfumato.diffusion.draws import uniform
from sfumato.discrete.betas import cosine, linear, mutual_information
from sfumato.discrete.bound import Predict, hybrid_loss, variational_bound
from sfumato.discrete.chain import Chain
from sfumato.discrete.sample import sample
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.seeds import Stream, permutation, torch_seed

SIDE, GREYS, STEPS = 16, 4, 100
CHAINS = {
    "uniform": Chain.uniform(cosine(STEPS), GREYS),
    "absorbing": Chain.absorbing(mutual_information(STEPS), GREYS + 1),
    "gaussian": Chain.gaussian(linear(STEPS, 1e-2, 1.0), GREYS),
}


def greys(select: str) -> Tensor:
    """(N, 16, 16) int64, 0 for black … 3 for white."""
    images = torch.from_numpy(sf.open_data(f"emoji/{select}").images).float().mean(3)
    small = F.avg_pool2d(images[:, None], images.shape[1] // SIDE)[:, 0]
    return (small * GREYS / 256).long()


def train(chain: Chain, pictures: Tensor, steps: int, batch: int = 32) -> Predict:
    """(x_t, t) -> logits of x_0, from `steps` batches."""
    torch.manual_seed(torch_seed(0, 0, Stream.WEIGHTS))
    shape = {"channels": 16, "multipliers": (1, 2), "attention_levels": (1,), "groups": 4}
    network = UNet(UNetConfig(in_channels=chain.states, out_channels=chain.states, **shape))

    def predict(x: Tensor, t: Tensor | float) -> Tensor:
        time = torch.as_tensor(t).float().expand(len(x))
        seen = F.one_hot(x, chain.states).movedim(-1, 1).float()
        return network(2 * seen - 1, time, Condition()).movedim(1, -1)

    optimizer = torch.optim.Adam(network.parameters())
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 3 * min(1, 2 * (1 - k / steps)))
    for k in range(steps):
        x0 = pictures[permutation(len(pictures), 0, Stream.ORDER, k)[:batch]]
        t = (uniform([0], (len(x0),), Stream.TRAIN_CHOICE, k)[0] * STEPS + 1).floor() / STEPS
        xt = chain.draw(x0, t, uniform([0], x0.shape, Stream.TRAIN_NOISE, k)[0])
        loss = hybrid_loss(chain, predict(xt, t), x0, xt, t, weight=0.01).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    network.eval().requires_grad_(False)
    return predict


def cost_of_places(known: Tensor, pictures: Tensor) -> float:
    """Bits a pixel of a code that knows how often each grey is at each place in the known pictures."""
    often = F.one_hot(known, GREYS).double().sum(0) + 1
    bits = -(often / often.sum(-1, keepdim=True)).log2().expand(len(pictures), -1, -1, -1)
    return bits.gather(-1, pictures[..., None]).mean().item()


def main(path: str = "four_greys.png", steps: int = 1500, count: int = 64) -> None:
    from matplotlib.figure import Figure

    known, unseen = greys("noto:train"), greys("noto:held-out")
    held = unseen[permutation(len(unseen), 0, Stream.SPLIT)[:count]]
    print(f"{len(known)} pictures; of {len(held)} others, a pixel by its place: {cost_of_places(known, held):.3f} bits")
    figure = Figure(figsize=(14, 6), layout="constrained")
    for part, (name, chain) in zip(figure.subfigures(1, len(CHAINS), squeeze=False).flat, CHAINS.items(), strict=True):
        predict = train(chain, known, steps)
        bits = variational_bound(chain, predict, held, [(1, i) for i in range(len(held))]).total
        print(f"{name}: {bits.mean():.3f} ± {bits.std() / len(bits) ** 0.5:.3f} bits a pixel", flush=True)
        moments: dict[float, Tensor] = {}

        def watched(x: Tensor, t: float, predict: Predict = predict, moments: dict[float, Tensor] = moments) -> Tensor:
            moments[t] = x
            return predict(x, t)

        moments[0.0] = sample(chain, watched, range(6), (SIDE, SIDE))
        part.suptitle(f"{name}: {bits.mean():.3f} bits a pixel")
        for row, axes in enumerate(part.subplots(6, 5)):
            for panel, t in zip(axes, (1.0, 0.75, 0.5, 0.25, 0.0), strict=True):
                shown = np.ma.masked_equal(moments[t][row].numpy(), GREYS)  # what is hidden has no grey
                panel.imshow(shown, cmap="gray", vmin=0, vmax=GREYS - 1)
                panel.set(xticks=[], yticks=[], facecolor="#30507a")
                if row == 0:
                    panel.set_title(f"t = {t:g}", fontsize="small")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "four_greys.png")
