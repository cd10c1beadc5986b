"""When memory runs out, or is about to: what would help, in numbers for this very training."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import nn

from sfumato.errors import SfumatoError
from sfumato.memory import free_bytes, in_words
from sfumato.models.spec import ModelSpec
from sfumato.training.config import TrainConfig
from sfumato.training.entries import entries
from sfumato.training.footprint import Place, at_once, footprint, state_bytes

__all__ = ["Advice", "Relief", "out_of_memory", "place_of_run"]

ROOM = 0.8  # of the memory that is there: what a training should keep below
LOOSE = 64  # bytes for each channel and position of a block: generously, without our kernels and with dropout
WAYS = 3
SIGNS = ("defaultcpuallocator", "not enough memory", "out of memory", "bad_alloc")


@dataclass(frozen=True)
class Relief:
    """A way to take less memory.

    Attributes:
        options: of the command line.
        effect: on what is learned, and on time.
        peak: bytes, by prediction.
        resumes: whether a run can go on with it.
    """

    options: str
    effect: str
    peak: int
    resumes: bool

    def __str__(self) -> str:
        return f"  {self.options}: about {in_words(self.peak)}; {self.effect}{'' if self.resumes else '; a new run'}"


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that no memory is left, of a GPU or of the machine, in the words of torch, C++ or Python."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def place_of_run(spec: ModelSpec, learning: nn.Module, device: torch.device, autocast: torch.autocast) -> Place:
    """Of a run that makes such a model; `learning` is what of its network learns."""
    return Place(
        spec.network,
        spec.shape()[1:],
        str(device),
        half=autocast._enabled,
        tokens=spec.text.length if spec.text else 0,
        learned=sum(p.numel() for p in learning.parameters()),
    )


@dataclass(frozen=True)
class Advice:
    """What to do about the memory of a run.

    Attributes:
        config, place: the run.
        ranks: processes that share its batches.
    """

    config: TrainConfig
    place: Place
    ranks: int = 1

    def warn(self, say: Callable[[str], None]) -> None:
        """Before the first step: say what would help where the prediction is above what is free.

        On a CPU this may be the only word, since a system without memory ends processes without one. Where a loose
        bound shows that there is enough, nothing is predicted, which takes some seconds.
        """
        free = free_bytes(torch.device(self.place.device))
        if self._loose_bound() <= free:
            return
        peak = self._peak(self.config)
        if peak > free:
            told = f"Note: by prediction a step takes {in_words(peak)}, and {in_words(free)} are free. Less is taken by"
            say("\n".join([told, *map(str, self.reliefs(ROOM * free))]))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raises `SfumatoError` where memory runs out within: with what would help, and how to go on."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold tensors
            first = (str(error) or type(error).__name__).splitlines()[0]
            try:
                told = self._explained()
            except (MemoryError, RuntimeError):  # a prediction takes some, too
                told = "Take --accumulate, --gradient-checkpointing or a smaller --batch."
            raise SfumatoError(f"no memory is left: {first}\n{told}") from error

    def reliefs(self, most: float) -> list[Relief]:
        """Up to three ways to take less, the gentlest first: each as far as brings it below `most`, or as it can."""
        found = []
        for effect, resumes, choices in islice(self._choices(), WAYS):
            changes, peak = choices[0], 0
            for changes in choices:
                peak = self._peak(replace(self.config, **changes))
                if peak <= most:
                    break
            options = (
                f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}" for name, value in changes.items()
            )
            found.append(Relief(" ".join(options), effect, peak, resumes))
        return found

    def _choices(self) -> Iterator[tuple[str, bool, list[dict[str, Any]]]]:
        """What can be changed: to what effect, whether a run can go on with it, and how far, the least first."""
        config = self.config
        splits = [k for k in range(2, config.batch // self.ranks + 1) if config.batch % k == 0]
        if further := [k for k in splits if k > config.accumulate]:
            yield "the same steps but for rounding and masks of dropout", True, [{"accumulate": k} for k in further]
        if not config.gradient_checkpointing:
            yield "the same steps bit for bit, each about a third longer", True, [{"gradient_checkpointing": True}]
        if self.place.device.startswith("cuda") and not self.place.half:
            yield "rounded more, and faster", False, [{"precision": "bf16"}]
        if splits:
            whole = {"accumulate": 1} if config.accumulate > 1 else {}
            yield (
                "other steps, which may want another --lr",
                False,
                [{"batch": config.batch // k, **whole} for k in splits],
            )

    def _peak(self, config: TrainConfig) -> int:
        place = replace(self.place, half=self.place.half or config.precision == "bf16")
        return footprint(config, place).peak(at_once(config, self.ranks))

    def _loose_bound(self) -> int:
        """Bytes that a step stays far below, found at once."""
        network, (height, width) = self.place.network, self.place.size
        positions = [height * width // (network.patch * 2**level) ** 2 for level in range(len(network.widths))]
        values = sum(channels * count for channels, count in zip(network.widths, positions, strict=True))
        picture = LOOSE * (2 * network.blocks + 3) * values
        return state_bytes(self.config, self.place) + picture * at_once(self.config, self.ranks)

    def _explained(self) -> str:
        config, known = self.config, footprint(self.config, self.place)
        count = at_once(config, self.ranks)
        peak, room = known.peak(count), free_bytes(torch.device(self.place.device)) + known.state
        ways = self.reliefs(ROOM * min(peak, room))
        last = entries(config.out / "checkpoints")[-1:]
        further = next((f" {way.options}" for way in ways if way.resumes), "")
        lines = [
            f"By prediction a step takes {in_words(peak)} with {count} pictures at once, {in_words(known.state)} of it "
            "for weights, gradients, optimizer and averages. Less is taken by",
            *map(str, ways),
            f"The last checkpoint is {last[0]}." if last else "There is no checkpoint yet.",
            f"Go on with: sfumato {config.verb} --out {config.out} --resume{further}",
        ]
        return "\n".join(lines)
