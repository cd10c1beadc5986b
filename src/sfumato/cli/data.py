"""`sfumato data …`: look through a folder, pack a data set into one file, get and list the well-known ones."""

# Heavy imports wait for run(): `--help` must answer at once.
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from sfumato.errors import InputError, SfumatoError, nearest

__all__ = ["Check", "Get", "List", "Pack"]


@dataclass(frozen=True)
class Check:
    """Decode every picture of a folder once and report what is broken, huge, tiny, twice there or odd."""

    path: Positional[Path]
    """Folder of pictures, its sub-folders included; or a packed file, whose checksums are verified."""

    workers: int = 0
    """Decoding threads; 0 for none."""

    def run(self) -> None:
        """Print the report; `SfumatoError` at the end if not every picture can be used."""
        from sfumato.data.check import check_folder
        from sfumato.data.pack import verify_pack

        if self.path.is_file():
            print(f"{self.path}: whole, {len(verify_pack(self.path))} pictures")
            return
        report = check_folder(self.path, workers=self.workers)
        print(report.text())
        if not report.ok:
            raise SfumatoError(f"{self.path}: not every picture can be used; the report above says why")


@dataclass(frozen=True)
class Pack:
    """Write a data set as one file that opens at once."""

    source: Positional[str]
    """Folder of pictures, pack file, or name of a data set (see `sfumato data list`)."""

    out: Path
    """The file to write; its name ends in .safetensors."""

    size: int | None = None
    """Side of the pictures in pixels; by default as stored, and 32 for a folder of pictures."""

    workers: int = 0
    """Decoding threads; 0 for none."""

    def run(self) -> None:
        """Write the pack and print what it holds."""
        from sfumato.data.pack import write_pack
        from sfumato.data.sources import open_data

        if self.out.suffix != ".safetensors":
            raise InputError(f"--out {self.out}: the name of a pack ends in .safetensors")
        dataset = open_data(self.source, size=self.size, workers=self.workers)
        write_pack(dataset, self.out)
        _, height, width, channels = dataset.images.shape
        print(f"{self.out}: {len(dataset)} pictures of {height}x{width}, {'RGB' if channels == 3 else 'grey'}")


@dataclass(frozen=True)
class Get:
    """Fetch a well-known data set, verify it and keep it in the cache."""

    name: Positional[str]
    """cifar10 or fashion-mnist, or either with /test; fluent-3d or emoji-large."""

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

        shipped = emoji()
        rows = [("emoji", len(shipped), shipped.images.shape[1:], shipped.licence)]
        for known in (CIFAR10, FASHION_MNIST):
            for split, count in known.counts.items():
                name = known.name if split == "train" else f"{known.name}/{split}"
                rows.append((name, count, known.shape, known.licence))
        for name, module, side in (
            ("fluent-3d", fluent_3d, fluent_3d.SIDE),
            ("emoji-large", emoji_large, emoji_large.DEFAULT_SIZE),
        ):
            rows.append((name, module.COUNT, (side, side, 3), module.LICENCE))
        for name, count, (height, width, channels), licence in rows:
            size, colours = f"{height}x{width}", "RGB" if channels == 3 else "grey"
            print(f"{name:20} {count:>7,}  {size:7} {colours:4}  {licence}")
