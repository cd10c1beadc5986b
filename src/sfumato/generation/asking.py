"""What a model can be asked for, what guidance goes away from, and whether there is anything to be guided by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sfumato.conditioning.labels import LabelSet
from sfumato.errors import InputError
from sfumato.generation.asked import Asked, one_each
from sfumato.generation.guidance import Guidance
from sfumato.generation.request import Label, Prompt, Request
from sfumato.models.spec import ModelSpec
from sfumato.networks.config import NO_LABEL

__all__ = ["ask", "away", "guidance_scale", "idle", "label_set"]


def label_set(spec: ModelSpec, guidance: Guidance) -> LabelSet:
    """What can be asked for: the model's labels, or, where it has none, those of the classifier that guides it."""
    own = spec.labels
    return own if own.kinds or guidance.classifier is None else guidance.classifier.spec.labels


def ask(spec: ModelSpec, seeds: Sequence[int], label: Label | np.ndarray, prompt: Prompt, guidance: Guidance) -> Asked:
    """What is asked for, a picture for each seed; what is not given is drawn as in the training data.

    Raises `InputError` for a label that is not there or that the classifier cannot guide towards, for a label where
    texts are read, and for a prompt where they are not.
    """
    labels, text = label_set(spec, guidance), spec.text
    if text is None and prompt is not None:
        what = f"labels: {', '.join(labels.kinds)}" if labels.kinds else "no condition"
        raise InputError(f"model {spec.name!r} reads no prompts; it was trained with {what}")
    if text is not None and label is not None and not labels.kinds:
        raise InputError(f"model {spec.name!r} has no labels; say it in a prompt")
    rows = labels.check(label, len(seeds)) if isinstance(label, np.ndarray) else labels.rows(label, seeds)
    guidance.check_labels(rows)
    if text is None:
        return Asked(rows)
    return Asked(rows, text.drawn(seeds) if prompt is None else one_each(prompt, len(seeds)))


def away(spec: ModelSpec, asked: Asked, guidance: Guidance) -> Asked:
    """What classifier-free guidance goes away from: the negative label or prompt, or none."""
    if spec.text is not None:
        text = guidance.negative or ""
        text = (text if isinstance(text, str) else ", ".join(text)).strip()
        return replace(asked, texts=(text,) * len(asked))
    labels = spec.labels
    row = [NO_LABEL] * len(labels.kinds) if guidance.negative is None else labels.resolve(guidance.negative)
    return replace(asked, rows=np.tile(np.asarray(row, np.int64), (len(asked), 1)))


def idle(spec: ModelSpec, asked: Asked, guidance: Guidance) -> np.ndarray:
    """(N,) whether a picture has nothing to be guided by: what it is asked for is what guidance goes away from."""
    if guidance.weak is not None:
        return np.zeros(len(asked), bool)
    other = away(spec, asked, guidance)
    if spec.text is not None:
        return np.array([text.strip() == less for text, less in zip(asked.texts, other.texts, strict=True)])
    return (asked.rows[:, : len(spec.labels.kinds)] == other.rows).all(1)


def guidance_scale(spec: ModelSpec, request: Request, asked: Asked) -> float:
    """w for a request and what is asked for: its own, or the model's default; 1 where nothing is to be guided by.

    Raises `InputError` when guidance was asked for but there is nothing to be guided by, or the model cannot do without
    a label or a text.
    """
    given, guidance = request.guidance_scale, request.guidance
    if guidance.weak is not None:
        if given is None:  # the model's default is of classifier-free guidance
            raise InputError("a weaker model needs a guidance_scale to go with it, such as 2")
        return float(given)
    scale = float(spec.sampling.guidance_scale if given is None else given)
    alone = bool(idle(spec, asked, guidance).all())
    what = "label" if spec.text is None else "prompt"
    if guidance.negative is not None and given is None and scale == 1:
        raise InputError(f"a negative {what} does nothing at guidance scale 1; give a guidance_scale, such as 2")
    if scale == 1 or (alone and given is None and guidance.negative is None):
        return 1.0
    if alone and guidance.negative is None:
        raise InputError(f"guidance scale {scale:g} needs a {what} to be guided by; there is none")
    if alone:
        raise InputError(f"guidance scale {scale:g} needs a {what} other than the negative one, {guidance.negative}")
    other = away(spec, asked, guidance)
    empty = bool((other.rows == NO_LABEL).any()) or "" in other.texts
    dropout = spec.labels.dropout if spec.text is None else spec.text.dropout
    if dropout == 0 and empty:
        raise InputError(
            f"guidance needs a model trained with {what} dropout; this one was not. Use guidance_scale=1, or a "
            f"negative {what}{'' if spec.text else ' of every kind'}."
        )
    return scale
