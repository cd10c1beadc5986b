"""Packages of npm: verified before they are unpacked, whatever the way they came. The npm here is a shell script."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from sfumato.data.npm import Package, npm_pack
from sfumato.errors import InputError

MADE_UP = Package("@nobody/made-up", "1.2.3", "0" * 64, "MIT", "nowhere")


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program called npm, whose body is given, in front of all others."""

    def install(body: str) -> None:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "npm").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    return install


def test_names():
    assert MADE_UP.spec == "@nobody/made-up@1.2.3"
    assert MADE_UP.archive == "nobody-made-up-1.2.3.tgz"
    assert dataclasses.replace(MADE_UP, name="plain").archive == "plain-1.2.3.tgz"


def test_fetched_through_npm(tmp_path, files, publish, npm):
    package = publish(MADE_UP, {"icons.json": {"a": 1}, "en/data.json": b"[]"})
    npm(f'echo "$@" > {tmp_path}/arguments; cp {files}/*.tgz .')
    (tmp_path / "work").mkdir()
    folder = package.get(tmp_path / "work")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json")) == ["en/data.json", "icons.json"]
    assert (tmp_path / "arguments").read_text().split() == ["pack", package.spec, "--ignore-scripts"]


def test_own_archives_need_no_npm(tmp_path, files, publish, npm):
    npm("exit 1")
    package = publish(MADE_UP, {"icons.json": {}})
    assert (package.get(tmp_path, files) / "icons.json").read_text() == "{}"


def test_another_archive_is_never_unpacked(tmp_path, files, publish):
    publish(MADE_UP, {"icons.json": {}})
    with pytest.raises(InputError, match=r"made-up-1\.2\.3\.tgz is not @nobody/made-up@1\.2\.3 \(sha256 .* expected 0"):
        MADE_UP.get(tmp_path, files)
    assert not list(tmp_path.rglob("icons.json"))


def test_a_damaged_archive(tmp_path, files, publish):
    package = publish(MADE_UP, {"icons.json": {}})
    archive = files / package.archive
    archive.write_bytes(archive.read_bytes()[:-9])
    with pytest.raises(InputError, match="is not @nobody"):
        package.get(tmp_path, files)


def test_an_archive_that_is_not_there(tmp_path, files):
    with pytest.raises(InputError, match=r"no such file; `npm pack @nobody/made-up@1\.2\.3` makes it"):
        MADE_UP.get(tmp_path, files)


def test_npm_that_fails_or_leaves_nothing(tmp_path, npm):
    npm("echo no such package >&2; exit 1")
    with pytest.raises(InputError, match="npm failed: no such package"):
        npm_pack(MADE_UP.spec, tmp_path)
    npm("exit 0")
    with pytest.raises(InputError, match="left no archive"):
        npm_pack(MADE_UP.spec, tmp_path)
