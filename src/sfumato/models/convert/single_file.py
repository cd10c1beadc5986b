"""Stable Diffusion in one file, as CompVis' code saves it, taken apart into its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sfumato.errors import InputError

__all__ = ["SingleFile", "split"]

UNET, AUTOENCODER, AVERAGE = "model.diffusion_model.", "first_stage_model.", "model_ema."
TEXT, TEXT_INNER = "cond_stage_model.transformer.", "text_model."
SCHEDULE = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
    "logvar",
}
IDLE = {
    "cond_stage_model.logit_scale",
    f"{TEXT}{TEXT_INNER}embeddings.position_ids",
    f"{TEXT}embeddings.position_ids",
    f"{AVERAGE}decay",
    f"{AVERAGE}num_updates",
}
OTHERS = {  # what shows that it is another kind of model
    "conditioner.": "Stable Diffusion XL, which has text encoders and size conditions that are not known here",
    "cond_stage_model.model.": "Stable Diffusion 2, with OpenCLIP's text encoder. Convert its diffusers folder",
    "control_model.": "a ControlNet",
    "model.diffusion_model.joint_blocks.": "Stable Diffusion 3",
    "model.diffusion_model.double_blocks.": "Flux",
}


@dataclass(frozen=True, eq=False)
class SingleFile:
    """The parts of such a file.

    Attributes:
        unet: by the names that `unet_from_openai` takes.
        which: which of its weights these are: "average" where the file has averages beside the raw ones.
        autoencoder: by CompVis' names, without prefix; empty where there is none.
        text: of transformers' CLIPTextModel, by the names in its published files (`text_model.…`); empty where there
            is none.
        betas: of its schedule, where the file has them.
        scale: of its latents, where the file has it (scale_factor).
        dropped: what was left out knowingly, and why: kind -> number of tensors.
    """

    unet: dict[str, Tensor]
    which: Literal["average", "raw"]
    autoencoder: dict[str, Tensor]
    text: dict[str, Tensor]
    betas: Tensor | None
    scale: float | None
    dropped: dict[str, int]


def split(tensors: Mapping[str, Tensor]) -> SingleFile:
    """Take a checkpoint apart. No number changes.

    Raises:
        InputError: naming what the file is instead, or the first tensor that has no place in it.
    """
    for prefix, what in OTHERS.items():
        if any(name.startswith(prefix) for name in tensors):
            raise InputError(f"this file is {what}")
    inner: dict[str, dict[str, Tensor]] = {UNET: {}, AUTOENCODER: {}, AVERAGE: {}, TEXT: {}}
    dropped = {"tables of its schedule": 0, "what changes no number": 0}
    for name, value in tensors.items():
        if name in IDLE:
            dropped["what changes no number"] += 1
        elif prefix := next((p for p in inner if name.startswith(p)), None):
            inner[prefix][name.removeprefix(prefix)] = value
        elif name in SCHEDULE:
            dropped["tables of its schedule"] += name != "betas"
        elif name != "scale_factor":
            raise InputError(f"there is no place for {name} in a file of Stable Diffusion")
    unet, average = inner[UNET], inner[AVERAGE]
    if not unet:
        raise InputError(f"this file is no Stable Diffusion: nothing in it begins with {UNET}")
    if average:
        unet = _averaged(unet, average)
        dropped["weights beside their averages"] = len(unet)
    return SingleFile(
        unet,
        "average" if average else "raw",
        inner[AUTOENCODER],
        {name if name.startswith(TEXT_INNER) else TEXT_INNER + name: value for name, value in inner[TEXT].items()},
        tensors.get("betas"),
        tensors["scale_factor"].item() if "scale_factor" in tensors else None,
        {what: count for what, count in dropped.items() if count},
    )


def _averaged(unet: Mapping[str, Tensor], average: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The averages of the U-Net. Their names are those of the model, without dots."""
    result = {}
    for name in unet:
        flat = f"diffusion_model{name.replace('.', '')}"
        if flat not in average:
            raise InputError(f"{AVERAGE}{flat} is missing, the average of {UNET}{name}")
        result[name] = average[flat]
    return result
