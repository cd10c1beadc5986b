"""What is found of whether a model copies what it was trained on, in numbers and in words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sfumato.evaluation.intervals import Interval
from sfumato.evaluation.method import Making, Network, RealSet

__all__ = ["Memorisation", "Nearness", "Pair", "card_section", "into_card"]

SUSPICIOUS = 0.01  # chance below which more samples lie near than would by luck


@dataclass(frozen=True)
class Pair:
    """A sample by its seed, the training picture nearest to it by its number, and their distance."""

    seed: int
    training: int
    distance: float


@dataclass(frozen=True)
class Nearness:
    """How near samples come to training pictures, beside real pictures that are not among them. See `Copies`.

    Attributes:
        space: where distances are measured, in words.
        share: of samples that are as near to a training picture as only `quantile` of the real pictures are.
        real_share: of the real pictures; the quantile, or a little more.
        quantile, threshold: that distance.
        chance: that so many samples lie so near if they are as new as the real pictures.
        authenticity, real_authenticity: share that is farther from its training picture than that one's nearest other.
        median, real_median: distance.
        nearest: the pairs, nearest first.
        making, training, real: what was compared: the samples, what they were looked for among, and the baseline.
        features: the network whose features they are; none for pixels.
    """

    space: str
    share: Interval
    real_share: float
    quantile: float
    threshold: float
    chance: float
    authenticity: Interval
    real_authenticity: Interval
    median: float
    real_median: float
    nearest: tuple[Pair, ...]
    making: Making
    training: RealSet
    real: RealSet
    features: Network | None

    @property
    def verdict(self) -> str:
        """In words."""
        told = (
            f"{self.share.value:.1%} of the samples lie as near to a training picture as the nearest "
            f"{self.real_share:.1%} of real pictures do"
        )
        if self.chance < SUSPICIOUS:
            return (
                f"{told}; luck alone does that in {self.chance:.1g} of cases. Some are copies, or so plain "
                "that they come near to anything: look at the pairs."
            )
        return f"{told}, which is no more than luck explains. No sign of copies."


@dataclass(frozen=True)
class Memorisation:
    """Of one model: in pixels, and in features.

    Attributes:
        spaces: both.
        baseline: which real pictures tell how near is near, in words.
        duplicates: training pictures left out because they equal another.
    """

    spaces: tuple[Nearness, ...]
    baseline: str
    duplicates: int


def card_section(memorisation: Memorisation) -> list[str]:
    """Lines of markdown for a model card."""
    one = memorisation.spaces[0]
    making, training = one.making, one.training
    lines = [
        "## Memorisation",
        "",
        f"{making.n:,} samples (seeds {making.seeds}, {making.solver}, {making.steps} steps, guidance scale "
        f"{making.guidance_scale:g}) beside {training.n:,} training pictures of {training.data}. "
        f"{memorisation.baseline}",
        "",
        f"| distance in | samples as near as the nearest {one.quantile:.0%} of real pictures | chance of so many | "
        "authentic samples | authentic real pictures |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {space.space} | {_share(space.share)} | {space.chance:.2g} | {_share(space.authenticity)} | "
        f"{_share(space.real_authenticity)} |"
        for space in memorisation.spaces
    ]
    lines += ["", *(f"In {space.space}: {space.verdict}" for space in memorisation.spaces), ""]
    return [*lines, f"[ ]: {one.share.level:.0%} intervals of shares, after Wilson."]


def into_card(card: str, memorisation: Memorisation) -> str:
    """A model card with this section: in the place of an older one, else before the limits, else at the end."""
    parts = [part for part in re.split(r"(?m)^(?=## )", card) if not part.startswith("## Memorisation\n")]
    place = next((i for i, part in enumerate(parts) if part.startswith("## Intended use")), len(parts))
    return "".join([*parts[:place], "\n".join(card_section(memorisation)), "\n\n", *parts[place:]])


def _share(interval: Interval) -> str:
    return f"{interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
