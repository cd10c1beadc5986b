"""Made-up npm packages: nothing here needs a network."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sfumato.data.npm import Package
from sfumato.files import sha256_of

Publish = Callable[[Package, Mapping[str, Any]], Package]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder where `publish` leaves the archives."""
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def publish(files: Path) -> Publish:
    """Write the archive of a package with other content (bytes, or what becomes JSON); return it with its sha256."""

    def write(package: Package, content: Mapping[str, Any]) -> Package:
        archive = files / package.archive
        with tarfile.open(archive, "w:gz") as tar:
            for name, value in content.items():
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                member = tarfile.TarInfo(f"package/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return dataclasses.replace(package, sha256=sha256_of(archive))

    return write
