"""How much memory sampling will take, said before it runs: from the description of a model, without its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path

import torch
from torch import nn

from sfumato.conditioning.frozen import encoder_folder
from sfumato.devices import find_dtype
from sfumato.errors import InputError
from sfumato.models.parts import TEXT
from sfumato.models.spec import ModelSpec
from sfumato.models.tensors import StoredTensors
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.networks.blank import blank
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.kernels.kept import MOST_KEPT_BYTES
from sfumato.networks.live import convolution_scratch, kept_bytes, most_live_bytes
from sfumato.networks.memory import bounded
from sfumato.networks.tiling import TILE, decode_tiled
from sfumato.networks.turns import Offload
from sfumato.networks.unet import UNet

__all__ = ["Footprint", "Way", "memory_table", "predict", "text_numbers"]

TURNS = ("text", "network", "decode")
POINTS = 8  # tensors as large as x in the loop: the latest points and x̂0 of a long table, noise, both halves' results
SCORES = 1 << 24  # a bound for the table: 64 MiB in float32


@dataclass(frozen=True)
class Way:
    """A way to make pictures, as far as memory is concerned.

    Attributes:
        size: (height, width) of the pictures; None: as trained.
        batch: pictures at once.
        guided: by classifier-free guidance; None: as the model's defaults are.
        together: both halves of guidance in one call.
        dtype: of the weights.
        offload: None, "cpu" or "disk", as in `load`.
        most_scores: bound on the scores of attention, as in `load`.
        fused: attention has a kernel that never holds its scores, as PyTorch has for the CPU and for newer GPUs.
        tile: side of the decoder's tiles, in positions of the latent; None: in one piece.
        device: "cpu", where what convolutions take for themselves is known, or another.
    """

    size: tuple[int, int] | None = None
    batch: int = 1
    guided: bool | None = None
    together: bool = True
    dtype: str = "float32"
    offload: Offload | None = None
    most_scores: int | None = None
    fused: bool = True
    tile: int | None = TILE
    device: str = "cpu"

    def __post_init__(self) -> None:
        find_dtype(self.dtype)
        if self.batch < 1:
            raise InputError(f"batch must be at least 1, not {self.batch}")

    def is_guided(self, spec: ModelSpec) -> bool:
        return spec.sampling.guidance_scale != 1 if self.guided is None else self.guided


@dataclass(frozen=True)
class Footprint:
    """Bytes on the device: what is there in each turn, in order; "text", "network" and "decode".

    Attributes:
        weights: of the networks that are there, and what their convolutions keep between calls.
        work: the most that its tensors take at once.
    """

    weights: Mapping[str, int]
    work: Mapping[str, int]

    def at(self, turn: str) -> int:
        """Both."""
        return self.weights[turn] + self.work[turn]

    @property
    def turn(self) -> str:
        """Where the peak is."""
        return max(self.weights, key=self.at)

    @property
    def peak(self) -> int:
        return self.at(self.turn)


def predict(spec: ModelSpec, way: Way, text: int = 0) -> Footprint:
    """The most memory that sampling takes on its device, above what the libraries themselves take.

    Weights, and the largest set of tensors that live at the same time while U-Net and decoder are walked without
    numbers (`networks.live`). The text encoder's tensors are not counted; next to its weights they are small.

    Args:
        spec: the model.
        way: how it is to be used.
        text: numbers in a frozen text encoder, from `text_numbers`.

    Raises:
        InputError: for a size that does not fit.
    """
    dtype = find_dtype(way.dtype)
    scratch, shape = convolution_scratch(way.device, dtype), spec.shape(way.size)
    x = 4 * way.batch * prod(shape)  # float32
    calls = way.batch * (2 if way.together and way.is_guided(spec) else 1)
    length = spec.text.length if spec.text else 0
    alone = way.offload == "disk" or (way.offload == "cpu" and way.device != "cpu")  # one network is there at a time
    own, work, kept = {}, {}, {}
    if text:
        own["text"], work["text"] = text, 0
    own["network"] = _numbers(UNet, spec.network)
    call = _network_call(spec.network, calls, shape[1:], length, dtype, way.most_scores)
    work["network"] = POINTS * x + most_live_bytes(call, way.fused, scratch)
    kept["network"] = kept_bytes(call, scratch)
    if spec.autoencoder is not None:
        own["decode"] = _numbers(Autoencoder, spec.autoencoder)
        pictures = 4 * way.batch * spec.channels * prod(way.size or spec.size)
        call = _decoder_call(spec.autoencoder, shape, way.tile, dtype, way.most_scores)
        work["decode"] = 2 * x + pictures + most_live_bytes(call, way.fused, scratch)
        kept["decode"] = kept_bytes(call, scratch, MOST_KEPT_BYTES - (0 if alone else kept["network"]))
    weights = {turn: numbers * dtype.itemsize + kept.get(turn, 0) for turn, numbers in own.items()}
    if not alone:
        weights = dict.fromkeys(own, sum(weights.values()))
    return Footprint(weights, work)


def text_numbers(spec: ModelSpec, folder: Path) -> int:
    """How many numbers the frozen text encoder of the model in `folder` has, by the headers of its files; 0 without."""
    if spec.text is None or spec.text.encoder == "words":
        return 0
    inside = folder / TEXT
    files = encoder_folder(spec.text.encoder, inside if inside.is_dir() else None).glob("*.safetensors")
    return sum(StoredTensors(path).numbers() for path in files)


def memory_table(spec: ModelSpec, way: Way, text: int = 0) -> list[str]:
    """Predictions for a way to make pictures and for what saves memory, as the lines of a Markdown table in GiB."""
    lines = ["| | text | network | decode | peak | at |", "|---|---|---|---|---|---|"]
    for name, other in _ways(spec, way):
        found = predict(spec, other, text)
        turns = [f"{found.at(turn) / 2**30:.2f}" if turn in found.work else "–" for turn in TURNS]
        lines.append(f"| {name} | {' | '.join(turns)} | {found.peak / 2**30:.2f} | {found.turn} |")
    return lines


def _ways(spec: ModelSpec, way: Way) -> Iterator[tuple[str, Way]]:
    half = replace(way, dtype="bfloat16") if way.dtype == "float32" else way
    yield way.dtype, way
    if way.is_guided(spec):
        yield "one at a time", replace(way, together=False)
    if half != way:
        yield "bfloat16 or float16", half
    yield "offload cpu", replace(way, offload="cpu")
    yield "offload disk", replace(way, offload="disk")
    yield "all of these", replace(half, together=False, offload="disk")
    yield "no fused attention", replace(way, fused=False)
    yield f"the same, most scores {SCORES}", replace(way, fused=False, most_scores=SCORES)
    if spec.autoencoder is not None:
        yield "decoded in one piece", replace(way, tile=None)


@cache
def _numbers(kind: type[nn.Module], config: UNetConfig | AutoencoderConfig) -> int:
    with blank():
        return sum(p.numel() for p in kind(config).parameters())


@cache
def _network_call(
    config: UNetConfig,
    batch: int,
    size: tuple[int, int],
    length: int,
    dtype: torch.dtype,
    most_scores: int | None,
) -> Callable[[], None]:
    with blank():
        network = bounded(lambda: UNet(config).to(dtype).eval(), most_scores)

    def call() -> None:
        with torch.device("meta"):
            context = Condition(context=torch.empty(batch, length, config.context)) if config.context else Condition()
            network(torch.empty(batch, config.in_channels, *size), 0.5, context)

    return call


@cache
def _decoder_call(
    config: AutoencoderConfig,
    shape: tuple[int, int, int],
    tile: int | None,
    dtype: torch.dtype,
    most_scores: int | None,
) -> Callable[[], None]:
    with blank():
        network = bounded(lambda: Autoencoder(config).to(dtype).eval(), most_scores)

    def call() -> None:
        z = torch.empty(1, *shape, device="meta")
        network.decode(z) if tile is None else decode_tiled(network, z, tile)

    return call
