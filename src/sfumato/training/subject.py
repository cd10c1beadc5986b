"""What a run learns: pictures or their latents, with labels or captions, and the shape of a network that fits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from sfumato._version import __version__
from sfumato.conditioning.frozen import FrozenReader, encoder_folder, frozen_spec
from sfumato.conditioning.labels import LabelSet
from sfumato.conditioning.prompt import parse_prompt
from sfumato.conditioning.reader import open_reader
from sfumato.conditioning.text import Reader, TextSpec, WordReader
from sfumato.conditioning.words import Vocabulary
from sfumato.data.dataset import Dataset
from sfumato.data.on_demand import OnDemand
from sfumato.data.shaped import Shaped
from sfumato.errors import InputError
from sfumato.models.autoencoder import load_autoencoder_folder
from sfumato.models.parts import AUTOENCODER, Parts
from sfumato.models.spec import ModelSpec, SamplingDefaults
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.training.batches import Batch, Batches
from sfumato.training.captions import Captions
from sfumato.training.config import TrainConfig
from sfumato.training.fine_tuning import check_network
from sfumato.training.latents import Latents
from sfumato.training.parent import Parent

__all__ = ["Subject", "model_spec", "network_for", "open_subject"]

EXAMPLES = 256  # captions kept in the model, to sample from where no prompt is given


@dataclass(frozen=True)
class Subject:
    """Everything that a network is fitted to.

    Attributes:
        data: the pictures.
        network: the shape that fits.
        labels: what they are labelled with; empty where texts are read.
        text, reader: how texts are read, and what reads them; none without.
        latents: the pictures' latents; none where pixels are learned.
        batches: what is shown.
        parts: of the model that comes of it.
        parent: the model that the run goes on from; none where it begins anew.
    """

    data: Dataset | OnDemand
    network: UNetConfig
    labels: LabelSet
    text: TextSpec | None
    reader: Reader | None
    latents: Latents | None
    batches: Batches
    parts: Parts
    parent: Parent | None = None

    @property
    def fingerprint(self) -> str:
        """Equal exactly when a training on it would be."""
        parts = [self.data.fingerprint]
        if self.text is not None:
            parts += [self.data.text_fingerprint, self.text.sha256]
        if self.latents is not None:
            parts.append(self.latents.key)
        if self.batches.shaped is not None:
            parts.append(self.batches.shaped.fingerprint)
        if self.parent is not None:
            parts.append(self.parent.sha256)
        return "+".join(filter(None, parts))

    def told(self, batch: Batch) -> Condition:
        """What the network is told of a batch."""
        return self.reader.learn(batch.texts) if self.reader else Condition(labels=batch.labels)


def open_subject(
    config: TrainConfig,
    data: Dataset | OnDemand,
    device: torch.device,
    say: Callable[[str], None],
    parent: Parent | None = None,
) -> Subject:
    """Prepare what a run learns. Labels, vocabulary, text encoder and autoencoder are the `parent`'s, if it has one.

    Raises:
        InputError: when captions are missing, a text encoder or an autoencoder cannot be read, or sizes do not fit;
            and when the data cannot be learned by the parent's network.
    """
    if config.unlabelled:
        data = data.unlabelled()
    if parent is not None and config.text == "none":
        data = parent.labelled(data, config.lora.rank is not None, say)
    captions = text = reader = latents = None
    features = config.text_features
    if config.text != "none":
        captions = Captions(data, config.seed, config.spoken, config.label_dropout)
        more = {"dropout": config.label_dropout, "examples": _examples(captions)}
        if parent is not None and parent.spec.text is not None:
            text, features = replace(parent.spec.text, **more), parent.spec.network.context
            reader = open_reader(text, parent.folder, device)
            _tell_unknown_words(captions, text, say)
        elif config.text == "words":
            vocabulary = Vocabulary.of(captions.everything(), config.text_length)
            text = TextSpec("words", config.text_length, vocabulary.words, **more)
            reader = WordReader(vocabulary)
        else:
            text = frozen_spec(config.text, config.text_encoder, config.text_length, **more)
            reader = FrozenReader(text, encoder_folder(config.text, config.text_encoder), device)
            features = reader.features
    if config.autoencoder is not None:
        autoencoder, sha256 = _autoencoder(config.autoencoder, parent)
        path, net = config.out / "latents.safetensors", autoencoder.config
        net.check_size(*config.picture_size)
        key = f"{sha256} {net.latent_shift} {net.latent_scale}"
        assert isinstance(data, Dataset)  # the config goes with no other
        latents = Latents(autoencoder.to(device), data, path, key, config.flip, say)
    channels = latents.autoencoder.config.latent_channels if latents else data.shape[2]
    kinds = () if text else tuple(map(len, data.kinds.values()))
    seen, told = 1 + config.objective.self_conditioning, 1 + (config.objective.variance != "fixed")
    network = network_for(config.network, channels, kinds, seen * channels, told * channels)
    if text is not None:
        words = (text.vocabulary.size, text.length) if text.words else (0, 0)
        network = replace(network, context=features, vocabulary=words[0], tokens=words[1])
    if parent is not None:
        check_network(network, parent.spec)
    shaped = None
    if config.buckets:
        assert isinstance(data, OnDemand)  # the config goes with no other
        shaped = Shaped(data, network.divisor, config.batch, config.seed, config.workers)
        say(shaped.text())
    return Subject(
        data=data,
        network=network,
        labels=LabelSet() if text else LabelSet.of(data.kinds, data.labels, config.label_dropout),
        text=text,
        reader=reader,
        latents=latents,
        batches=Batches(
            data,
            config.seed,
            config.label_dropout,
            config.flip,
            captions,
            latents,
            config.objective.offset_noise,
            shaped,
        ),
        parts=Parts(
            latents.autoencoder.state_dict() if latents else None, parent.text if parent else config.text_encoder
        ),
        parent=parent,
    )


def _autoencoder(folder: Path, parent: Parent | None) -> tuple[Autoencoder, str]:
    """The autoencoder in a folder, or the parent's; and the checksum of its weights."""
    if parent is not None:
        return parent.autoencoder(), parent.spec.files[AUTOENCODER]
    spec, autoencoder = load_autoencoder_folder(folder)
    return autoencoder, spec.weights.sha256 if spec.weights else ""


def _tell_unknown_words(captions: Captions, text: TextSpec, say: Callable[[str], None]) -> None:
    if text.encoder != "words":
        return
    said = Vocabulary.of(captions.everything(), text.length).words
    if unknown := [word for word in said if word not in text.words]:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        say(
            f"{len(unknown)} of the {len(said)} words in the captions are not in the model's vocabulary: "
            f"{', '.join(unknown[:8])}{more}. They are left out, but for plurals of what is."
        )


def _examples(captions: Captions) -> tuple[str, ...]:
    count = len(captions.data)
    pick = np.linspace(0, count - 1, min(EXAMPLES, count)).astype(int).tolist()
    return tuple(text for text in dict.fromkeys(captions.plain(i) for i in pick) if _is_prompt(text))


def _is_prompt(text: str) -> bool:
    """Whether a caption means as a prompt what it says: no control characters, nothing that looks like a weight."""
    try:
        return [span.weight for span in parse_prompt(text)] == [1.0]
    except InputError:
        return False


def network_for(
    asked: UNetConfig, channels: int, labels: tuple[int, ...], entering: int | None = None, leaving: int | None = None
) -> UNetConfig:
    """The network's shape with the channels and labels of the data. `InputError` when it was asked for another.

    `entering` and `leaving`: channels of its input and output, where these are others than the data's.
    """
    entering, leaving = entering or channels, leaving or channels
    for name, value, actual in [
        ("in_channels", asked.in_channels, {UNetConfig().in_channels, entering}),
        ("out_channels", asked.out_channels, {None, leaving}),
        ("labels", asked.labels, {(), labels}),
    ]:
        if value not in actual:
            raise InputError(f"network.{name} is {value}, but the data has {channels} channels and labels {labels}")
    return replace(asked, in_channels=entering, out_channels=None if leaving == entering else leaving, labels=labels)


def model_spec(config: TrainConfig, subject: Subject) -> ModelSpec:
    """The description of the model that this run makes."""
    data = subject.data
    facts = {
        "pictures": 0,
        "batch": config.batch,
        "seed": config.seed,
        "learning_rate": config.lr,
        "weighting": config.weighting,
        "ema_halflife": config.ema_halflife,
        "sfumato": __version__,
        "torch": torch.__version__,
    }
    parent, licence, sampling = subject.parent, "that of its training data", SamplingDefaults(spacing="log-snr")
    if parent is not None:
        facts |= {"parent": parent.spec.name, "parent_sha256": parent.sha256}
        licence, sampling = f"{licence}, and of {parent.spec.name}: {parent.spec.licence}", parent.spec.sampling
    height, width, _ = data.shape
    return ModelSpec(
        name=data.name,
        network=subject.network,
        schedule=config.schedule,
        prediction=config.prediction,
        variance=config.objective.variance,
        sigma_data=config.objective.sigma_data,
        self_conditioning=config.objective.self_conditioning,
        size=(height, width),
        labels=subject.labels,
        text=subject.text,
        autoencoder=subject.latents.autoencoder.config if subject.latents else None,
        sampling=sampling,
        training=facts,
        data={
            "name": data.name,
            "count": len(data),
            "fingerprint" if isinstance(data, Dataset) else "files_fingerprint": data.fingerprint,
            "source": data.source,
            "licence": data.licence,
        },
        licence=f"{licence}; decide before you publish it",
    )
