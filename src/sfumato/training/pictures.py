"""The pictures of a run: taken as they are, packed into its folder, or decoded each time they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sfumato.data.dataset import Dataset
from sfumato.data.framing import Framing
from sfumato.data.on_demand import OnDemand
from sfumato.data.pack import pack_source, read_pack
from sfumato.data.sources import open_data, open_source
from sfumato.errors import InputError
from sfumato.sizes import written
from sfumato.training.config import TrainConfig
from sfumato.training.options import RunOptions

__all__ = ["open_packed", "open_pictures", "tell_unreadable"]

PACKED = "data.safetensors"


def open_pictures(config: TrainConfig, say: Callable[[str], None]) -> Dataset | OnDemand:
    """What a run learns from, as its option `read` says. Raises `InputError` for data that cannot be read so."""
    if config.read == "packed":
        return open_packed(config, say)
    source = open_source(config.data)
    if source is None:
        raise InputError(f"--read on-demand is for pictures in files; {config.data} is decoded already. Leave it out.")
    data = OnDemand(source, _framing(config), max_bad=config.max_bad)
    for line in data.quota.report().left_out():
        say(line)
    say(f"{data.name}: {len(data):,} pictures, decoded when they are shown, as {written(data.shape[:2])}")
    return data


def open_packed(config: RunOptions, say: Callable[[str], None]) -> Dataset:
    """What a run learns from. Pictures in files are packed into its folder first, once.

    Raises:
        InputError: the data cannot be read, or not with this framing.
    """
    packed = config.out / PACKED
    if packed.exists() and config.resume:
        data = read_pack(packed)
    elif (source := open_source(config.data)) is not None:
        report = pack_source(source, packed, _framing(config), workers=config.workers, max_bad=config.max_bad)
        if report.bad or report.unlisted:
            say(report.text())
        data = read_pack(packed)
    elif config.framing != "crop":
        raise InputError(f"--framing {config.framing} is for pictures in files, not for {config.data}")
    else:
        data = open_data(config.data, size=config.picture_size)
    say(f"{data.name}: {len(data):,} pictures of {written(data.shape[:2])}")
    return data


def tell_unreadable(data: Dataset | OnDemand, say: Callable[[str], None]) -> None:
    """At the end of a run: which pictures could not be read when their turn came, so that others were shown."""
    if isinstance(data, OnDemand) and data.quota.bad:
        report = replace(data.quota.report(), unlisted=(), ignored=())
        say("\n".join(report.left_out()))


def _framing(config: RunOptions) -> Framing:
    return Framing(config.picture_size, config.framing, seed=config.seed)
