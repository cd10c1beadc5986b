"""What a number may be called: the name that everybody knows is kept for the network that everybody means by it."""

from __future__ import annotations

from sfumato.errors import InputError, nearest

__all__ = ["CLIP", "INCEPTION", "metric_name"]

INCEPTION = "Inception-v3"  # with the weights of 2015-12-05, on pictures resized as its authors did
CLIP = "CLIP-ViT-L/14@336px"
KNOWN = {
    "FD": ("FID", INCEPTION),
    "KD": ("KID", INCEPTION),
    "MMD": ("CMMD", CLIP),
    "ClassifierScore": ("IS", INCEPTION),
}


def metric_name(measure: str, network: str) -> str:
    """The name of a measure on the features, or the classes, of a network.

    Args:
        measure: "FD" (`frechet_distance`), "KD" (`kid`), "MMD" (`cmmd`) or "ClassifierScore" (`classifier_score`).
        network: its name.

    Returns:
        "FID", "KID", "CMMD" or "IS" with the network of its paper; otherwise both names, such as "FD-EffNetLite0".
    """
    if measure not in KNOWN:
        raise InputError(f"there is no measure {measure!r} to be named after a network. {nearest(measure, KNOWN)}")
    name, usual = KNOWN[measure]
    return name if network == usual else f"{measure}-{network}"
