"""Well-known data sets: found in the cache, in the user's files, or fetched; always verified by what they decode to."""

from __future__ import annotations

import hashlib
import http.client
import logging
import math
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.pack import read_pack, write_pack
from sfumato.errors import InputError, nearest
from sfumato.files import cache_folder, check_writable
from sfumato.images import shown

__all__ = ["Known", "Reader", "Route", "digest", "download", "kept", "obtain", "run_client", "unpack"]

log = logging.getLogger(__name__)

Reader = Callable[[Path, str], tuple[np.ndarray, np.ndarray]]
"""(folder, split) -> images (N, H, W, C) uint8 and labels (N,), or an `InputError`."""

_LARGEST = 1_000_000_000  # bytes; no data set here comes near


@dataclass(frozen=True)
class Known:
    """A public data set whose content is known beforehand.

    Attributes:
        name: as users write it.
        classes: names of the classes, in the order of their numbers.
        shape: (H, W, C) of a picture.
        counts, sha256: for each split the number of pictures and the `digest` of its content.
        source, licence: for model cards.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: dict[str, int]
    sha256: dict[str, str]
    source: str
    licence: str

    def dataset(self, split: str, images: np.ndarray, labels: np.ndarray) -> Dataset:
        """The data set of verified content.

        Raises:
            InputError: the content is not that of the split.
        """
        expected = (self.counts[split], *self.shape)
        if images.shape != expected:
            raise InputError(f"these are pictures {images.shape}; the {split} split of {self.name} has {expected}")
        found = digest(images, labels)
        if found != self.sha256[split]:
            raise InputError(
                f"these pictures and labels are not the {split} split of {self.name} "
                f"(sha256 {found}, expected {self.sha256[split]})"
            )
        name = self.name if split == "train" else f"{self.name}/{split}"
        column = labels.astype(np.int64).reshape(-1, 1)
        return Dataset(name, images, column, {"class": self.classes}, source=self.source, licence=self.licence)


@dataclass(frozen=True)
class Route:
    """One way to get the files: `get` fills an empty folder with them and returns the folder that holds them."""

    name: str
    get: Callable[[Path], Path]


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 of the pixels, uint8 in the order N, H, W, C, and then of the labels as uint8."""
    total = hashlib.sha256(np.ascontiguousarray(images).data)
    total.update(np.ascontiguousarray(labels, dtype=np.uint8).data)
    return total.hexdigest()


def obtain(
    known: Known, split: str, reader: Reader, routes: Sequence[Route], files: Path | None, cache: Path | None
) -> Dataset:
    """Get one split: from the cache, else from the user's `files` if given, else by the first route that works.

    What was read elsewhere is verified and put into the cache as a pack. Files that the user names must be right:
    nothing is fetched in their place.

    Raises:
        InputError: no such split, no room in the cache, the user's files are not the data set, or every route
            failed (all are listed).
    """
    if split not in known.sha256:
        raise InputError(f"{known.name} has no split {split!r}. {nearest(split, known.sha256)}")
    folder = cache_folder(cache)
    pack = folder / f"{known.name}-{split}.safetensors"

    def verified() -> Dataset:
        packed = read_pack(pack)
        return known.dataset(split, packed.images, packed.labels)

    def make(work: Path) -> None:
        if files is not None:
            _keep(known, split, reader, _as_folder(Path(files), work), folder)
        else:
            _fetch(known, split, reader, routes, work, folder)

    pixels = sum(known.counts.values()) * math.prod(known.shape)
    return kept(pack, verified, make, need_bytes=3 * pixels)  # an archive, what it unpacks to, and the packs


def kept(pack: Path, verified: Callable[[], Dataset], make: Callable[[Path], None], need_bytes: int) -> Dataset:
    """A data set that is kept as the file `pack`; where there is none, or a damaged one, it is made anew.

    Args:
        pack: its folder need not exist.
        verified: opens the pack; `InputError` if it is not what it should be.
        make: writes the pack, given an empty folder to work in, which is removed afterwards.
        need_bytes: room that `make` needs beside the pack.

    Raises:
        InputError: too little room, or what `make` and `verified` raise.
    """
    if pack.is_file():
        try:
            return verified()
        except InputError as error:
            log.warning("%s is damaged and is fetched anew: %s", pack, error)
    check_writable(pack.parent, need_bytes)
    with tempfile.TemporaryDirectory(dir=pack.parent, prefix=".fetch-") as work:
        make(Path(work))
    return verified()


def _fetch(known: Known, split: str, reader: Reader, routes: Sequence[Route], work: Path, cache: Path) -> None:
    failures = []
    for number, route in enumerate(routes):
        place = work / str(number)
        place.mkdir()
        log.info("fetching %s through %s", known.name, route.name)
        try:
            found = route.get(place)
            # every route brings all the splits: keep them while they are here
            for each in sorted(known.sha256, key=lambda name: name != split):
                _keep(known, each, reader, found, cache)
            return
        except InputError as error:
            failures.append(f"\n  {route.name}: {error}")
            shutil.rmtree(place, ignore_errors=True)
    raise InputError(
        f"{known.name} could not be fetched:{''.join(failures)}\n"
        f"Get its files yourself ({known.source}) and run `sfumato data get {known.name} --files PATH`."
    )


def _keep(known: Known, split: str, reader: Reader, files: Path, cache: Path) -> None:
    write_pack(known.dataset(split, *reader(files, split)), cache / f"{known.name}-{split}.safetensors")


def _as_folder(files: Path, work: Path) -> Path:
    if files.is_dir():
        return files
    if not files.is_file():
        raise InputError(f"{shown(files)}: no such file or folder")
    return unpack(files, work)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar.gz archive into `folder`: plain files only, within `folder`, 1 GB at most."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            total = 0
            for member in tar:
                total += member.size
                if total > _LARGEST:
                    raise InputError(f"{shown(archive)}: unpacks to more than {_LARGEST:,} bytes")
                if member.isfile():
                    tar.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{shown(archive)}: cannot be unpacked as a tar.gz archive, {error}") from error
    return folder


def run_client(command: Sequence[str], folder: Path, timeout: float = 900) -> None:
    """Run a package client in `folder`; an `InputError` says why it failed: not installed, too slow, its last words."""
    program = shutil.which(command[0])
    if program is None:
        raise InputError(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *command[1:]], cwd=folder, capture_output=True, text=True, timeout=timeout, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{command[0]} was stopped after {timeout:.0f} s") from error
    if done.returncode:
        words = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise InputError(f"{command[0]} failed: {shown(words[-1] if words else f'exit code {done.returncode}')}")


def download(url: str, folder: Path, most_bytes: int, timeout: float = 30) -> Path:
    """Fetch `url` into `folder` under its own last name; at most `most_bytes`, at most `timeout` s of silence."""
    file, got = folder / url.rsplit("/", 1)[1], 0
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, open(file, "wb") as out:
            while block := answer.read(1 << 20):
                got += len(block)
                if got > most_bytes:
                    raise InputError(f"{url} sends more than {most_bytes:,} bytes")
                out.write(block)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    return file
