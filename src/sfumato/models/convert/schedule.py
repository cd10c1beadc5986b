"""Noise schedules and kinds of prediction as diffusers' scheduler_config.json and CompVis' tables have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sfumato.diffusion.config import ScheduleConfig, ScheduleName
from sfumato.diffusion.prediction import Prediction
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError

__all__ = ["schedule_from_betas", "schedule_from_diffusers", "schedule_to_diffusers"]

NAMES: dict[str, ScheduleName] = {"linear": "linear", "scaled_linear": "scaled-linear", "squaredcos_cap_v2": "cosine"}
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


def schedule_from_diffusers(config: Mapping[str, Any]) -> tuple[ScheduleConfig, Prediction]:
    """The schedule that a model was trained on, and what it predicts.

    Args:
        config: scheduler_config.json. What it says of a solver (its order, spacing, clipping …) is not looked at.

    Raises:
        InputError: naming what is missing, or a value that is not known here.
    """
    where = f"scheduler_config.json of a {config.get('_class_name', 'scheduler')}"

    def number(key: str, kind: type) -> Any:
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, kind | int):
            raise InputError(f"{where}: {key} is {value!r}, but a {kind.__name__} is needed")
        return value

    def word(key: str, known: Mapping[str, Any], missing: str | None = None) -> Any:
        value = config.get(key, missing)
        if not isinstance(value, str) or value not in known:
            raise InputError(f"{where}: {key} is {value!r}; known here: {', '.join(known)}")
        return known[value]

    if config.get("trained_betas") is not None:
        raise InputError(f"{where}: trained_betas, a table of its own, is not known here")
    name, steps = word("beta_schedule", NAMES), number("num_train_timesteps", int)
    prediction = word("prediction_type", PREDICTIONS, missing="epsilon")
    rescaled = config.get("rescale_betas_zero_snr", False)
    if not isinstance(rescaled, bool):
        raise InputError(f"{where}: rescale_betas_zero_snr is {rescaled!r}, not true or false")
    betas = {} if name == "cosine" else {key: float(number(key, float)) for key in ("beta_start", "beta_end")}
    schedule = ScheduleConfig(name, steps, rescaled, **betas)
    schedule.build()
    return schedule, prediction


def schedule_to_diffusers(schedule: ScheduleConfig, prediction: Prediction) -> dict[str, Any]:
    """A scheduler_config.json of diffusers' DDIM with this schedule.

    Raises:
        InputError: for a schedule with α = 1, which DDIM does not have.
    """
    built = schedule.build()
    if prediction not in PREDICTIONS.values():
        raise InputError(f"diffusers' DDIM knows no prediction {prediction!r}")
    if not built.variance_preserving:
        raise InputError(f"diffusers' DDIM needs a schedule with α² + σ² = 1; {schedule.name!r} has α = 1")
    result: dict[str, Any] = {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": schedule.steps,
        "prediction_type": next(theirs for theirs, ours in PREDICTIONS.items() if ours == prediction),
        "rescale_betas_zero_snr": schedule.zero_terminal_snr,
        "timestep_spacing": "trailing",
        "clip_sample": False,
        "set_alpha_to_one": True,
    }
    shape = next((theirs for theirs, ours in NAMES.items() if ours == schedule.name), None)
    betas = _betas(ScheduleConfig(schedule.name, schedule.steps, False, schedule.beta_start, schedule.beta_end).build())
    if shape is None:
        return result | {"trained_betas": betas.tolist()}
    return result | {"beta_schedule": shape, "beta_start": betas[0], "beta_end": betas[-1]}


def schedule_from_betas(betas: Tensor) -> ScheduleConfig:
    """The schedule that has these β, (T,), as CompVis' checkpoints keep them: linear, or linear in √β.

    Raises:
        InputError: when they are neither.
    """
    table = betas.double().numpy()
    if table.ndim == 1 and len(table) and (table > 0).all() and (table < 1).all():
        first, last = float(f"{table[0]:.6g}"), float(f"{table[-1]:.6g}")  # as somebody once wrote them
        for name, straight in (("scaled-linear", math.sqrt), ("linear", float)):
            line = np.linspace(straight(first), straight(last), len(table))
            if np.allclose(line**2 if straight is math.sqrt else line, table, rtol=1e-4, atol=0):
                return ScheduleConfig(name, len(table), False, first, last)  # type: ignore[arg-type]
    raise InputError("the betas of this checkpoint grow neither linearly nor with a linear root: not known here")


def _betas(schedule: NoiseSchedule) -> np.ndarray:
    """β_1 … β_T, from ᾱ."""
    bars = np.array([1.0, *(schedule.alpha((i + 1) / schedule.steps) ** 2 for i in range(schedule.steps))])
    return 1 - bars[1:] / bars[:-1]
