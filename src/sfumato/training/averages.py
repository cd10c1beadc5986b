"""All averages of the weights that a run keeps: the one that becomes its model, and those one may choose later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from sfumato.files import atomic_path
from sfumato.models.folder import write_tensors
from sfumato.training.config import TrainConfig
from sfumato.training.ema import Average, decay
from sfumato.training.power import exponent, kept
from sfumato.training.ranks import ALONE, World

__all__ = ["FURTHER", "SNAPSHOTS", "Averages", "of_halflife"]

FURTHER = "average "  # what the names of further averages begin with in a checkpoint
SNAPSHOTS = "snapshots"


def of_halflife(halflife: int) -> str:
    """Name of a further average."""
    return f"halflife {halflife}"


class Averages:
    """The averages of a run.

    Attributes:
        main: of `config.ema_halflife`, which becomes the model.
    """

    def __init__(self, config: TrainConfig, network: nn.Module) -> None:
        self.main = Average(network)
        asked = config.averages
        main = partial(decay, halflife=config.ema_halflife, rampup=config.ema_rampup)
        rules: dict[str, Callable[[int, int], float]] = {
            of_halflife(n): partial(decay, halflife=n, rampup=config.ema_rampup) for n in asked.halflives
        }
        self._powers = {str(length): exponent(length) for length in asked.lengths}
        rules |= {length: partial(kept, gamma) for length, gamma in self._powers.items()}
        self._further = {name: Average(network) for name in rules}
        self._all = [(self.main, main), *((self._further[name], rule) for name, rule in rules.items())]

    def __len__(self) -> int:
        return len(self._all)

    def update(self, network: nn.Module, count: int, seen: int) -> None:
        """After a step of `count` pictures that brought their number to `seen`."""
        for average, rule in self._all:
            average.update(network, rule(count, seen))

    @property
    def states(self) -> dict[str, Mapping[str, Tensor]]:
        """What a checkpoint holds of them."""
        return {"average": self.main.values, **{FURTHER + name: a.values for name, a in self._further.items()}}

    def snapshot(self, out: Path, seen: int, world: World = ALONE) -> None:
        """Write the power-function averages, if there are any, into the run's folder: names are length/tensor.

        Called by all ranks, of which rank 0 writes.
        """
        if not self._powers:
            return
        tensors = world.whole(
            {
                f"{length}/{name}": value
                for length in self._powers
                for name, value in self._further[length].values.items()
            }
        )
        if world.leads:
            with atomic_path(out / SNAPSHOTS / f"{seen:012d}.safetensors") as temporary:
                write_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary)
