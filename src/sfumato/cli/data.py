"""`sfumato data …`: look through pictures, pack a data set into one file, get and list the well-known ones."""

# Heavy imports wait for run(): `--help` must answer at once.
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from sfumato.errors import InputError, SfumatoError, nearest
from sfumato.sizes import parse_size, written

__all__ = ["Check", "Get", "List", "Pack"]


@dataclass(frozen=True)
class Check:
    """Decode every picture once and report what is broken, huge, tiny, twice there or odd."""

    source: Positional[str]
    """Folder of pictures, its sub-folders included; zip file; tar shards (shards-{0000..0009}.tar); Parquet or Arrow
    files; or a packed file, whose checksums are verified."""

    workers: int = 0
    """Decoding threads; 0 for none."""

    def run(self) -> None:
        """Print the report; `SfumatoError` at the end if not every picture can be used."""
        from sfumato.data.check import check_folder, check_source
        from sfumato.data.locate import containers, source_at
        from sfumato.data.pack import verify_pack
        from sfumato.images import shown

        path = Path(self.source).expanduser()
        if path.is_file() and path.suffix == ".safetensors":
            print(f"{path}: whole, {len(verify_pack(path))} pictures")
            return
        if path.is_dir() and not containers(path):
            report = check_folder(path, workers=self.workers)
        elif (source := source_at(self.source)) is not None:
            report = check_source(source, workers=self.workers)
        else:
            raise InputError(f"{shown(path)}: {'holds no pictures' if path.exists() else 'no such file or folder'}")
        print(report.text())
        if not report.ok:
            raise SfumatoError(f"{report.folder}: not every picture can be used; the report above says why")


@dataclass(frozen=True)
class Pack:
    """Write a data set as one file that opens at once, of any length: its pictures are read where they are needed."""

    source: Positional[str]
    """Folder of pictures, zip file, tar shards, Parquet or Arrow files, pack file, or name of a data set (see
    `sfumato data list`)."""

    out: Path
    """The file to write; its name ends in .safetensors."""

    size: str | None = None
    """Side of the pictures in pixels, or WIDTHxHEIGHT; by default as stored, and 32 for pictures in files."""

    how: Literal["crop", "pad", "stretch", "random"] = "crop"
    """Of pictures in files: crop keeps the centre, pad loses nothing and fills up with white, stretch distorts, random
    keeps a random rectangle."""

    seed: int = 0
    """Of random rectangles."""

    max_bad: float = 0.1
    """Of pictures in files: greatest tolerable share that cannot be read; they are left out and named."""

    workers: int = 0
    """Decoding threads; 0 for none."""

    def run(self) -> None:
        """Write the pack and print what it holds."""
        from sfumato.data.framing import Framing
        from sfumato.data.pack import pack_source, read_pack, write_pack
        from sfumato.data.sources import FOLDER_SIZE, open_data, open_source
        from sfumato.seeds import check_seed

        if self.out.suffix != ".safetensors":
            raise InputError(f"--out {self.out}: the name of a pack ends in .safetensors")
        size = None if self.size is None else parse_size(self.size, "--size")
        source = open_source(self.source)
        if source is None:
            if self.how != "crop":
                raise InputError(f"--how {self.how} is for pictures in files, not for {self.source}")
            write_pack(open_data(self.source, size=size), self.out)
        else:
            framing = replace(Framing.of(size or FOLDER_SIZE, self.how), seed=check_seed(self.seed))
            report = pack_source(source, self.out, framing, workers=self.workers, max_bad=self.max_bad)
            print(report.text())
        dataset = read_pack(self.out)
        height, width, channels = dataset.shape
        told = f"{len(dataset)} pictures of {written((height, width))}, {'RGB' if channels == 3 else 'grey'}"
        print(f"{self.out}: {told}")


@dataclass(frozen=True)
class Get:
    """Fetch a well-known data set, verify it and keep it in the cache."""

    name: Positional[str]
    """cifar10, fashion-mnist or mnist, or one of these with /test; fluent-3d or emoji-large."""

    files: Path | None = None
    """Files of the data set that you already have: nothing is fetched then."""

    size: int | None = None
    """Side of the pictures in pixels, for emoji-large, which is drawn at any size up to 256; by default 64."""

    def run(self) -> None:
        """Fetch what is not in the cache yet, and print where it is."""
        from sfumato.data.sources import EMOJI, FETCHED
        from sfumato.files import cache_folder

        name, _, part = self.name.partition("/")
        if self.size is not None and name != "emoji-large":
            raise InputError(f"--size {self.size}: only emoji-large is drawn at a size of your choice")
        if name == "emoji":
            print("emoji comes with Sfumato: there is nothing to get")
            return
        if name in EMOJI:
            size = {} if self.size is None else {"size": self.size}
            dataset = EMOJI[name](part or None, files=self.files, **size)
        elif name in FETCHED:
            dataset = FETCHED[name](part or "train", files=self.files)
        else:
            known = [*FETCHED, *EMOJI]
            raise InputError(f"{self.name!r} is no data set that can be fetched. {nearest(name, known)}")
        print(f"{dataset.name}: {len(dataset)} pictures, verified, in {cache_folder()}")
        print(f"licence: {dataset.licence}")


@dataclass(frozen=True)
class List:
    """List the data sets that are known by name."""

    def run(self) -> None:
        """Print name, number of pictures, size and licence of each."""
        from sfumato.data import emoji_large, fluent_3d
        from sfumato.data.cifar10 import CIFAR10
        from sfumato.data.emoji import emoji
        from sfumato.data.fashion_mnist import FASHION_MNIST
        from sfumato.data.mnist import MNIST

        shipped = emoji()
        rows = [("emoji", len(shipped), shipped.images.shape[1:], shipped.licence)]
        for known in (CIFAR10, FASHION_MNIST, MNIST):
            for split, count in known.counts.items():
                name = known.name if split == "train" else f"{known.name}/{split}"
                rows.append((name, count, known.shape, known.licence))
        for name, module, side in (
            ("fluent-3d", fluent_3d, fluent_3d.SIDE),
            ("emoji-large", emoji_large, emoji_large.DEFAULT_SIZE),
        ):
            rows.append((name, module.COUNT, (side, side, 3), module.LICENCE))
        for name, count, (height, width, channels), licence in rows:
            colours = "RGB" if channels == 3 else "grey"
            print(f"{name:20} {count:>7,}  {written((height, width)):7} {colours:4}  {licence}")
