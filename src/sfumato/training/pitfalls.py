"""The ways in which a training goes wrong without an error, each as a function of what there is to see of it.

Each returns what is wrong, by which number, and what to do, in whole sentences; or None. `watch` calls them.
"""

from __future__ import annotations

import math

from sfumato.training.config import TrainConfig

__all__ = [
    "LABELS_MATTER",
    "collapsed",
    "labels_ignored",
    "labels_never_shown",
    "long_average",
    "memorisation_ahead",
    "settled_in",
    "worse_than_trivial",
]

OLD_SHARE = 0.1  # of weights from the first half of the run in an average that ends with it
PASSES = 500  # over the data, after which memorisation is ahead: a rule of thumb, see docs/training.md
LABELS_MATTER = 0.01  # what labels change in x̂0, of the data's standard deviation
ALIKE = 0.05  # variance of samples, of the data's


def long_average(config: TrainConfig) -> str | None:
    """Averaged weights that at the end of the run still hold much of its beginning.

    After ds pictures 2^(-ds/h(s)) of an average is left, h(s) = min(half-life, rampup·s) (`ema.decay`). So of what
    stems from the first half of N pictures there is left 2^-n, n = ∫ ds/h(s) from N/2 to N.
    """
    whole, halflife, rampup = config.pictures, config.ema_halflife, config.ema_rampup
    bend = min(max(halflife / rampup, whole / 2), whole)  # from where the half-life no longer grows
    left = 0.5 ** (math.log(bend / (whole / 2)) / rampup + (whole - bend) / halflife)
    if left <= OLD_SHARE:
        return None
    return (
        f"the average of the weights is too long for the run: {left:.0%} of it will stem from the run's first half "
        f"(half-life {halflife:,} of {whole:,} pictures, ramp-up {rampup:g}). It would show pictures of long ago. Take "
        f"--ema-halflife {max(whole // 20, 1)} or less, or a longer run."
    )


def memorisation_ahead(pictures: int, count: int, flip: bool) -> str | None:
    """So many passes over so few pictures that the network will learn them by heart.

    Training time until copies come grows in proportion to the number of pictures (Bonnaire et al. 2025, "Why Diffusion
    Models Don't Memorize"; Favero et al. 2025, "Bigger Isn't Always Memorizing"): so passes are what counts. How many
    depends on network and pictures; `PASSES` is a rule of thumb of our own.
    """
    different = count * (1 + flip)
    passes = pictures / different
    if passes <= PASSES:
        return None
    return (
        f"the run shows each of {different:,} {'pictures and mirror images' if flip else 'pictures'} {passes:,.0f} "
        f"times. Beyond some hundred passes a network may learn them by heart and give them back. Train for "
        f"{PASSES * different:,} pictures or less, take more pictures or a smaller network; and look: sfumato evaluate "
        "counts copies."
    )


def labels_never_shown(config: TrainConfig) -> str | None:
    """Labels or texts that are dropped each time."""
    if config.label_dropout < 1:
        return None
    return (
        "the data is labelled, but labels are dropped each time (label_dropout 1): nothing of them will be learned. "
        "Take --label-dropout 0.1, or say --unlabelled."
    )


def labels_ignored(change: float) -> str | None:
    """Labels or texts that make no difference to what the network puts out.

    `change`: root mean square of what they change in x̂0, of the data's standard deviation.
    """
    if change >= LABELS_MATTER:
        return None
    return (
        f"what the network is told of a picture makes no difference to it: x̂0 changes by {change:.2g} of the data's "
        "standard deviation when that is left out. Do the labels fit the pictures? Else train longer, at a higher "
        "--lr or with less --label-dropout, or say --unlabelled."
    )


def settled_in(config: TrainConfig) -> int:
    """Pictures after which a training that goes well is past its beginning.

    Runs of ours were below the trivial predictor's loss after some 200 steps, warm-up included. This is five times as
    much, or half of a run that is shorter; of fewer than 200 steps nothing can be said.
    """
    return max(min(config.pictures // 2, max(2 * config.warmup, 1000 * config.batch)), 200 * config.batch)


def worse_than_trivial(loss: float, trivial: float) -> str | None:
    """A mean loss above that of the predictor that knows but mean and variance (`diffusion.trivial`)."""
    if not loss > trivial > 0:
        return None
    return (
        f"the loss is {loss:.4g}, above the {trivial:.4g} of a predictor that knows only the mean and the variance of "
        "the pictures: so far nothing was learned, or it was lost again. Try a lower --lr and a longer --warmup; look "
        "at the gradient's norm, at the loss by time (sfumato report), and at the data (sfumato data check)."
    )


def collapsed(spread: float, real: float) -> str | None:
    """Samples that all look alike. Both are variances of a value over pictures."""
    if not spread < ALIKE * real:
        return None
    return (
        f"the samples are all alike: from one to another they vary by {spread / real:.1%} of what real pictures do. "
        "Look at them (samples/). If they are no pictures either, the training has not begun to work: lower --lr. "
        "If they are one and the same picture, look for it in the data."
    )
