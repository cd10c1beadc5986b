"""What `model.json` says: everything about a model but its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from sfumato.conditioning.labels import LabelSet
from sfumato.conditioning.text import TextSpec
from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.prediction import SIGMA_DATA, Prediction
from sfumato.errors import InputError
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.networks.config import UNetConfig
from sfumato.typed import build

__all__ = ["FORMAT", "ModelSpec", "SamplingDefaults", "Spec", "WeightFacts", "read_spec"]

FORMAT = 1


@dataclass(frozen=True)
class SamplingDefaults:
    """How a model is sampled unless one says otherwise."""

    solver: str = "unipc-2"
    steps: int = 20
    spacing: str | None = None
    guidance_scale: float = 1.0


@dataclass(frozen=True)
class WeightFacts:
    """What is known of the file of weights: "average" or "raw", its number type, count and checksum."""

    which: str
    dtype: str
    parameters: int
    sha256: str


class HasWeights(Protocol):
    """A description that knows the facts of its weights."""

    @property
    def weights(self) -> WeightFacts | None: ...

    def to_dict(self) -> dict[str, Any]: ...


Spec = TypeVar("Spec", bound=HasWeights)


@dataclass(frozen=True)
class ModelSpec:
    """A model without its weights.

    Attributes:
        name: short name.
        network, schedule, prediction: what it is.
        variance: of the reverse steps, learned or not (`diffusion.learned`); then the network has twice the channels.
        sigma_data: see `Diffusion`.
        self_conditioning: whether the network also sees its last x̂0, behind the channels of x_t.
        size: (height, width) it was trained at.
        labels: what it can be asked for.
        text: how it reads prompts; none: it does not.
        autoencoder: what leads from pictures to the latents it works on, and back; none: it works on pixels.
        sampling: defaults for sampling.
        training: facts of its training, for the card: pictures, seed, loss …
        data: facts of its data: name, count, fingerprint, source, licence.
        licence: of the weights.
        weights: facts of the weights; none before they are saved.
        files: further files of the folder, with the sha256 of each.
    """

    name: str
    network: UNetConfig
    schedule: ScheduleConfig
    prediction: Prediction
    size: tuple[int, int]
    labels: LabelSet = field(default_factory=LabelSet)
    text: TextSpec | None = None
    autoencoder: AutoencoderConfig | None = None
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    weights: WeightFacts | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    variance: Literal["fixed", "free", "interpolated"] = "fixed"
    sigma_data: float = SIGMA_DATA
    self_conditioning: bool = False

    def __post_init__(self) -> None:
        if tuple(map(len, self.labels.kinds.values())) != self.network.labels:
            raise InputError("the labels and the network's label tables differ in number")
        if (self.text is None) != (self.network.context == 0):
            raise InputError("a model reads texts if and only if its network does")
        own = self.text.vocabulary.size if self.text and self.text.encoder == "words" else 0
        if self.network.vocabulary != own:
            raise InputError(f"the network knows {self.network.vocabulary} words, its vocabulary has {own}")
        channels = self.shape()[0]
        if self.variance != "fixed" and self.network.output_channels != 2 * channels:
            raise InputError("a learned variance doubles the channels that the network puts out")
        if self.self_conditioning and self.network.in_channels != 2 * channels:
            raise InputError("self-conditioning doubles the channels that the network takes")

    @property
    def fills_in(self) -> bool:
        """Whether it fills in parts of pictures (its network sees a mask and what is around it): then it has nothing to
        say of whole ones."""
        return self.network.in_channels > self.network.output_channels and not self.self_conditioning

    def shape(self, size: tuple[int, int] | None = None) -> tuple[int, int, int]:
        """(C, H, W) of what is diffused for pictures of a size (height, width): of the pictures, or of their latents.

        Raises `InputError`, naming sizes that fit, for one that does not.
        """
        height, width = size or self.size
        # more channels may go in (a mask and what is around it) or come out (learned variance)
        leaving = self.network.output_channels // (1 if self.variance == "fixed" else 2)
        channels = min(self.network.in_channels, leaving)
        if self.autoencoder is None:
            self.network.check_size(height, width)
            return channels, height, width
        if channels != self.autoencoder.latent_channels:
            raise InputError(
                f"the network works on {channels} channels, the latents have {self.autoencoder.latent_channels}"
            )
        factor, unit = self.autoencoder.factor, self.autoencoder.factor * self.network.divisor
        if height < 1 or width < 1 or height % unit or width % unit:
            near = [max(unit, round(side / unit) * unit) for side in (width, height)]
            raise InputError(
                f"pictures of {width}x{height} do not fit: width and height must be multiples of {unit} "
                f"(autoencoder {factor}, network {self.network.divisor}). Nearest that fits: {near[0]}x{near[1]}."
            )
        return channels, height // factor, width // factor

    @property
    def channels(self) -> int:
        """Channels of the pictures."""
        return self.shape()[0] if self.autoencoder is None else self.autoencoder.in_channels

    @property
    def which_weights(self) -> str:
        """ "average" or "raw"; "unsaved" before the weights were saved."""
        return self.weights.which if self.weights else "unsaved"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, facts: object, where: str) -> ModelSpec:
        """The inverse. Raises `InputError`, beginning with `where`, for what it does not understand."""
        return read_spec(cls, facts, where)


def read_spec(kind: type[Spec], facts: object, where: str) -> Spec:
    """What a folder says of itself: `facts` from its JSON file, in a format that this version knows.

    Raises:
        InputError: beginning with `where`, for what it does not understand.
    """
    number = facts.get("format") if isinstance(facts, dict) else None
    if type(number) is not int or number < 1 or not isinstance(facts, dict):
        raise InputError(f"{where}: not the description of a sfumato model (no format number)")
    if number > FORMAT:
        raise InputError(f"{where}: written in format {number}, but this version reads up to {FORMAT}. Update sfumato.")
    spec = build(kind, {key: value for key, value in facts.items() if key != "format"}, where)
    if spec.weights is None:
        raise InputError(f"{where}: weights is missing, the facts and checksum of weights.safetensors")
    return spec
