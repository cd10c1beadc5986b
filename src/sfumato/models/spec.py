"""What `model.json` says: everything about a model but its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sfumato.conditioning.labels import LabelSet
from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.prediction import Prediction, check_prediction
from sfumato.errors import InputError
from sfumato.networks.config import UNetConfig

__all__ = ["FORMAT", "ModelSpec"]

FORMAT = 1


@dataclass(frozen=True)
class ModelSpec:
    """A model without its weights.

    Attributes:
        name: short name.
        network, schedule, prediction: what it is.
        labels: what it can be asked for.
        size: (height, width) it was trained at.
        sampling: defaults for sampling: solver, steps, spacing, guidance_scale.
        training: facts of its training, for the card: pictures, seed, loss …
        data: facts of its data: name, count, fingerprint, source, licence.
        licence: of the weights.
        weights: facts of the weights: which ("average" or "raw"), dtype, sha256.
    """

    name: str
    network: UNetConfig
    schedule: ScheduleConfig
    prediction: Prediction
    size: tuple[int, int]
    labels: LabelSet = field(default_factory=LabelSet)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    weights: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], where: str) -> ModelSpec:
        """The inverse. Raises `InputError`, beginning with `where`, for what it does not understand."""
        if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
            raise InputError(f"{where}: not the description of a sfumato model (no format number)")
        if facts["format"] > FORMAT:
            raise InputError(
                f"{where}: written in format {facts['format']}, but this version reads up to {FORMAT}. Update sfumato."
            )
        facts = {key: value for key, value in facts.items() if key != "format"}
        try:
            labels = facts.pop("labels")
            spec = cls(
                network=_build(UNetConfig, facts.pop("network")),
                schedule=_build(ScheduleConfig, facts.pop("schedule")),
                prediction=check_prediction(facts.pop("prediction")),
                size=(int(facts["size"][0]), int(facts.pop("size")[1])),
                labels=LabelSet(
                    kinds={str(kind): tuple(map(str, names)) for kind, names in labels["kinds"].items()},
                    counts=tuple((tuple(map(int, row)), int(count)) for row, count in labels["counts"]),
                    dropout=float(labels["dropout"]),
                ),
                **facts,
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(f"{where}: cannot be understood ({type(error).__name__}: {error})") from error
        if tuple(map(len, spec.labels.kinds.values())) != spec.network.labels:
            raise InputError(f"{where}: the labels and the network's label tables differ in number")
        return spec


def _build(kind: type, facts: Mapping[str, Any]) -> Any:
    """A flat dataclass from JSON, whose lists become tuples. Unknown keys are an error."""
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(facts) - known)
    if unknown:
        raise ValueError(f"{kind.__name__} has no {unknown[0]!r}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()})
