"""What a run trains: a whole network, new or a model's; or an adapter of a model that stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sfumato.models.convert.lora import merged_unet
from sfumato.models.convert.to_lora import lora_of, save_lora
from sfumato.models.folder import save_folder
from sfumato.models.shipped import ADAPTER
from sfumato.models.spec import ModelSpec
from sfumato.networks.lora import adapt
from sfumato.networks.unet import UNet
from sfumato.training.config import TrainConfig
from sfumato.training.entries import entries
from sfumato.training.lora_config import LoraConfig
from sfumato.training.subject import Subject

__all__ = ["Student", "begin"]


@dataclass(frozen=True)
class Student:
    """What a run trains.

    Attributes:
        network: what predicts.
        learning: what of it learns: all, or the factors of an adapter.
        subject: what it learns.
        lora: the adapter's config; its rank is none where all weights learn.
    """

    network: UNet
    learning: nn.Module
    subject: Subject
    lora: LoraConfig

    def whole(self, learned: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """All tensors of a network for values of what learns; on the CPU, where an adapter had to be merged."""
        if self.lora.rank is None:
            return learned
        config, frozen = self.network.config, self.network.state_dict()
        frozen = {name: value.cpu() for name, value in frozen.items() if ".lora." not in name}
        return merged_unet(config, frozen, lora_of(config, learned, self.lora.strength))

    def save(self, out: Path, spec: ModelSpec, learned: Mapping[str, Tensor]) -> None:
        """Write what the run has made: a model's folder, or an adapter.

        Args:
            out: the run's folder.
            spec: of the model.
            learned: averaged values of what learns.
        """
        if self.lora.rank is None:
            save_folder(out / "model", spec, learned, "average", parts=self.subject.parts)
        else:
            assert self.subject.parent is not None  # which TrainConfig sees to
            lora = replace(self.lora, alpha=self.lora.strength)
            facts = {**asdict(lora), "training": spec.training, "data": spec.data, "licence": spec.licence}
            save_lora(out / ADAPTER, self.subject.parent.spec, learned, self.lora.strength, facts)

    @property
    def result(self) -> str:
        """Name of what `save` writes."""
        return "model" if self.lora.rank is None else ADAPTER


def begin(config: TrainConfig, subject: Subject, device: torch.device, say: Callable[[str], None]) -> Student:
    """What a run trains, as it is before the first step. New weights draw from torch's generator.

    A run that goes on finds all that learns in its checkpoint: it asks for its parent's weights only where an adapter
    stands beside them.

    Raises:
        InputError: when the parent's weights cannot be read, or have no place for an adapter of this rank.
    """
    network, parent = UNet(subject.network).to(device).train(), subject.parent
    if parent is not None and (config.lora.rank is not None or not _has_checkpoint(config)):
        network.load_state_dict(parent.weights(subject.labels.kinds))
    if parent is None or config.lora.rank is None:
        return Student(network, network, subject, config.lora)
    factors = adapt(network, config.lora.rank, config.lora.strength, config.lora.targets)
    learning, all_of_it = (sum(p.numel() for p in part.parameters()) for part in (factors, network))
    say(
        f"an adapter of {parent.spec.name}: {learning:,} numbers learn beside {len(factors)} layers, the model's "
        f"{all_of_it - learning:,} stay"
    )
    return Student(network, factors, subject, config.lora)


def _has_checkpoint(config: TrainConfig) -> bool:
    return config.resume and bool(entries(config.out / "checkpoints"))
