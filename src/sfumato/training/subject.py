"""What a run learns: pictures or their latents, with labels or captions, and the shape of a network that fits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from sfumato._version import __version__
from sfumato.conditioning.frozen import FrozenReader, encoder_folder, frozen_spec
from sfumato.conditioning.labels import LabelSet
from sfumato.conditioning.prompt import parse_prompt
from sfumato.conditioning.text import Reader, TextSpec, WordReader
from sfumato.conditioning.words import Vocabulary
from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.models.autoencoder import load_autoencoder_folder
from sfumato.models.parts import Parts
from sfumato.models.spec import ModelSpec, SamplingDefaults
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.training.batches import Batch, Batches
from sfumato.training.captions import Captions
from sfumato.training.config import TrainConfig
from sfumato.training.latents import Latents

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
    """

    data: Dataset
    network: UNetConfig
    labels: LabelSet
    text: TextSpec | None
    reader: Reader | None
    latents: Latents | None
    batches: Batches
    parts: Parts

    @property
    def fingerprint(self) -> str:
        """Equal exactly when a training on it would be."""
        parts = [self.data.fingerprint]
        if self.text is not None:
            parts += [self.data.text_fingerprint, self.text.sha256]
        if self.latents is not None:
            parts.append(self.latents.key)
        return "+".join(filter(None, parts))

    def told(self, batch: Batch) -> Condition:
        """What the network is told of a batch."""
        return self.reader.learn(batch.texts) if self.reader else Condition(labels=batch.labels)


def open_subject(config: TrainConfig, data: Dataset, device: torch.device, say: Callable[[str], None]) -> Subject:
    """Prepare what a run learns.

    Raises:
        InputError: when captions are missing, a text encoder or an autoencoder cannot be read, or sizes do not fit.
    """
    if config.unlabelled:
        data = replace(data, labels=data.labels[:, :0], kinds={})
    captions = text = reader = latents = None
    features = config.text_features
    if config.text != "none":
        captions = Captions(data, config.seed, config.spoken, config.label_dropout)
        more = {"dropout": config.label_dropout, "examples": _examples(captions)}
        if config.text == "words":
            vocabulary = Vocabulary.of(captions.everything(), config.text_length)
            text = TextSpec("words", config.text_length, vocabulary.words, **more)
            reader = WordReader(vocabulary)
        else:
            text = frozen_spec(config.text, config.text_encoder, config.text_length, **more)
            reader = FrozenReader(text, encoder_folder(config.text, config.text_encoder), device)
            features = reader.features
    if config.autoencoder is not None:
        spec, autoencoder = load_autoencoder_folder(config.autoencoder)
        spec.network.check_size(config.size, config.size)
        path, net = config.out / "latents.safetensors", spec.network
        key = f"{spec.weights.sha256 if spec.weights else ''} {net.latent_shift} {net.latent_scale}"
        latents = Latents(autoencoder.to(device), data, path, key, config.flip, say)
    channels = latents.autoencoder.config.latent_channels if latents else data.images.shape[3]
    kinds = () if text else tuple(map(len, data.kinds.values()))
    seen, told = 1 + config.objective.self_conditioning, 1 + (config.objective.variance != "fixed")
    network = network_for(config.network, channels, kinds, seen * channels, told * channels)
    if text is not None:
        words = (text.vocabulary.size, text.length) if text.words else (0, 0)
        network = replace(network, context=features, vocabulary=words[0], tokens=words[1])
    return Subject(
        data=data,
        network=network,
        labels=LabelSet() if text else LabelSet.of(data.kinds, data.labels, config.label_dropout),
        text=text,
        reader=reader,
        latents=latents,
        batches=Batches(
            data, config.seed, config.label_dropout, config.flip, captions, latents, config.objective.offset_noise
        ),
        parts=Parts(latents.autoencoder.state_dict() if latents else None, config.text_encoder),
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
    height, width = data.images.shape[1:3]
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
        sampling=SamplingDefaults(spacing="log-snr"),
        training=facts,
        data={
            "name": data.name,
            "count": len(data),
            "fingerprint": data.fingerprint,
            "source": data.source,
            "licence": data.licence,
        },
        licence="that of its training data; decide before you publish it",
    )
