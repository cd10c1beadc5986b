"""A picture of sampling itself: noise on the left, the result on the right, moments in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sfumato.generation.model import Model
from sfumato.generation.request import Label, Prompt, Request
from sfumato.images import Images

__all__ = ["steps_strip"]


def steps_strip(
    model: Model,
    seeds: Sequence[int],
    label: Label = None,
    request: Request | None = None,
    columns: int = 8,
    prompt: Prompt = None,
) -> np.ndarray:
    """One row a picture: x_t from pure noise to the result, `columns` moments evenly spread over the network calls.

    Returns:
        uint8 (rows, width, C), the sheet of `Images.grid`. A noisy x_t is cut to the range of pictures.
    """
    request = request or Request()
    start = model.start(seeds, request.size, float(model.table(request).times[0]))
    states = [start, *(step.x for step in model.trajectory(seeds, label, request, prompt))]
    columns = max(2, min(columns, len(states)))
    moments = np.linspace(0, len(states) - 1, columns).round().astype(int)
    frames = np.stack([model.pictures(states[i]) for i in moments], axis=1)  # (N, columns, H, W, C)
    return Images(frames.reshape(-1, *frames.shape[2:])).grid(columns=columns)
