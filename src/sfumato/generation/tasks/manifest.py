"""`manifest.jsonl`: a line for each picture that is done, proven by the hash of its file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sfumato.files import atomic_path, sha256_of

__all__ = ["NAME", "Manifest"]

NAME = "manifest.jsonl"

log = logging.getLogger("sfumato")


class Proof(NamedTuple):
    """What of a line proves a picture."""

    file: str
    key: str  # of all that the picture follows from
    sha256: str  # of its file


class Manifest:
    """The manifest of a folder, which must be there.

    Attributes:
        folder: where it and the pictures are.
        found: whether there was one already.
        done: what is proven, by file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self.found = self.path.is_file()
        self.done: dict[str, Proof] = {}
        if not self.found:
            return
        with open(self.path, "rb") as file:
            for proof in filter(None, map(_read, file)):
                path = folder / proof.file
                if path.is_file() and sha256_of(path) == proof.sha256:
                    self.done[proof.file] = proof

    def proves(self, file: str, key: str) -> bool:
        """Whether this picture is done."""
        return file in self.done and self.done[file].key == key

    def mend(self) -> None:
        """Write it anew with a line for each picture that is done; one that is torn, stale or not proven goes."""
        left, lost = dict(self.done), 0
        self.path.touch()
        with atomic_path(self.path) as temporary, open(temporary, "wb") as new, open(self.path, "rb") as old:
            for raw in old:
                proof = _read(raw)
                if proof is not None and left.get(proof.file) == proof:
                    del left[proof.file]
                    new.write(raw)
                else:
                    lost += 1
        if lost:
            log.info("%s: %d lines that no picture proves are dropped", self.path, lost)

    def add(self, facts: Mapping[str, Any]) -> None:
        """Add a line, durably. `facts` holds "file", "key" and "sha256"."""
        with open(self.path, "ab") as file:
            file.write(json.dumps(facts, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _read(raw: bytes) -> Proof | None:
    """A whole line of a manifest, or nothing."""
    try:
        facts = json.loads(raw)
        proof = Proof(facts["file"], facts["key"], facts["sha256"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not raw.endswith(b"\n") or not all(isinstance(part, str) and part for part in proof):
        return None
    return proof if proof.file == Path(proof.file).name else None
