"""The model that a run goes on from, and what the run keeps of it.

That is all but the weights, in the folder parent/ of the run. The weights are in its first checkpoint: from then on the
run needs its parent no more. Only one that learns an adapter does, whose checkpoints hold nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.data.on_demand import OnDemand
from sfumato.errors import InputError
from sfumato.files import replace_folder
from sfumato.models.folder import open_folder, read_description
from sfumato.models.parts import AUTOENCODER, TEXT, check_files, read_autoencoder
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec
from sfumato.networks.autoencoder import Autoencoder
from sfumato.training.config import TrainConfig
from sfumato.training.fine_tuning import check_options
from sfumato.training.label_tables import Kinds, joined, tables, unknown, with_kinds

__all__ = ["Parent", "open_parent"]

KEPT = "parent"


@dataclass(frozen=True)
class Parent:
    """A model that a run goes on from.

    Attributes:
        folder: what the run keeps of it.
        spec: what it says of itself.
        source: where its weights are, as the run was told.
    """

    folder: Path
    spec: ModelSpec
    source: str

    @property
    def sha256(self) -> str:
        """Of its weights."""
        assert self.spec.weights is not None  # read_description sees to that
        return self.spec.weights.sha256

    @property
    def text(self) -> Path | None:
        """The folder of its frozen text encoder, where it brings one."""
        return self.folder / TEXT if (self.folder / TEXT).is_dir() else None

    def autoencoder(self) -> Autoencoder:
        """The autoencoder of a latent model."""
        assert self.spec.autoencoder is not None
        return read_autoencoder(self.folder, self.spec.autoencoder)

    def labelled(self, data: Dataset | OnDemand, adapter: bool, say: Callable[[str], None]) -> Dataset | OnDemand:
        """Data with the labels of the model to come: the parent's, and those that it does not know yet.

        Raises `InputError` where an adapter would have to learn such labels.
        """
        known, there = self.spec.labels, LabelSet.of(data.kinds, data.labels, 0.0)
        if new := unknown(known.seen, there.seen):
            if adapter:
                raise InputError(
                    f"an adapter has no room for labels that {self.spec.name} does not know ({new}). Add --unlabelled, "
                    "or learn all weights, without --lora.rank"
                )
            say(f"new labels, which begin as if none were given: {new}")
        return with_kinds(data, joined(known.kinds, data.kinds))

    def weights(self, kinds: Kinds) -> dict[str, Tensor]:
        """What a network for these labels begins with, float32: it says of every picture what the parent says.

        Raises `InputError` when the model is not there any more, or is another one now.
        """
        spec, read = open_folder(find_folder(self.source))
        assert spec.weights is not None
        if spec.weights.sha256 != self.sha256:
            raise InputError(
                f"{self.source} is not the model that this run goes on from: its weights are "
                f"{spec.weights.sha256[:12]}…, and were {self.sha256[:12]}…. Say where those are: --from MODEL"
            )
        tensors, known = dict(read().state_dict()), self.spec.labels
        old = [tensors.pop(f"labels.{k}.weight") for k in range(len(known.kinds))]
        new = tables(known, old, kinds, 4 * spec.network.channels)
        return tensors | {f"labels.{k}.weight": table for k, table in enumerate(new)}


def open_parent(config: TrainConfig) -> Parent | None:
    """The model that a run goes on from, if it does: found and kept at its beginning, read from its folder afterwards.

    Raises:
        InputError: when there is no such model, when it cannot be trained, or when the run asks for something that
            the model decides, such as another network.
    """
    if config.start is None:
        return None
    kept = config.out / KEPT
    if not config.resume:
        folder = find_folder(config.start)
        spec, _ = open_folder(folder)
        check_options(config, spec, folder)
        _keep(folder, kept)
    elif not kept.is_dir():
        raise InputError(f"the run in {config.out} did not begin with a model to go on from; leave --from out")
    spec = read_description(kept, "model.json", ModelSpec)
    check_files(kept, spec)
    return Parent(kept, spec, config.start)


def _keep(folder: Path, kept: Path) -> None:
    with replace_folder(kept) as new:
        for name in ("model.json", AUTOENCODER):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, new / name)
        if (folder / TEXT).is_dir():
            shutil.copytree(folder / TEXT, new / TEXT)
