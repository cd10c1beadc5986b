"""Compiling the kernels: once for a machine, and never a reason to stop."""

import logging
import shutil
import subprocess

import pytest

from sfumato.networks.kernels import build


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """A cache of the test's own, and nothing remembered before or after."""
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SFUMATO_KERNELS", raising=False)
    build.library.cache_clear()
    yield
    build.library.cache_clear()


@pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")
def test_compiles_once(tmp_path, monkeypatch):
    assert build.library() is not None
    (made,) = (tmp_path / "cache" / "kernels").iterdir()
    build.library.cache_clear()
    monkeypatch.setattr(build, "_compile", None)  # not a second time
    assert build.library() is not None
    assert [made] == list((tmp_path / "cache" / "kernels").iterdir())


@pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")
def test_flags_of_the_environment_are_used_and_what_they_made_is_kept_apart(tmp_path, monkeypatch):
    assert build.library() is not None
    monkeypatch.setenv("CXXFLAGS", "-O0 '-DNOTE=a b'")
    commands, compiled = [], subprocess.run
    monkeypatch.setattr(build.subprocess, "run", lambda c, **o: commands.append(c) or compiled(c, **o))
    build.library.cache_clear()
    assert build.library() is not None
    assert {"-O0", "-DNOTE=a b"} <= set(commands[-1])
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 2


def test_the_environment_switches_them_off(monkeypatch):
    monkeypatch.setenv("SFUMATO_KERNELS", "off")
    assert build.library() is None


def test_no_compiler(monkeypatch, caplog):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with caplog.at_level(logging.INFO, logger="sfumato"):
        assert build.library() is None
    assert "no C++ compiler is there" in caplog.text


@pytest.mark.parametrize(
    "script", ["exit 1", 'test "$1" = --version && echo 9.9 || { echo no such flag >&2; exit 1; }']
)
def test_a_compiler_that_fails_is_told_and_nothing_stops(script, tmp_path, monkeypatch, caplog):
    path = tmp_path / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    assert build.library() is None
    assert "networks run without our kernels" in caplog.text
    assert not list((tmp_path / "cache").rglob("*.so"))


@pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")
def test_an_older_compiler_is_asked_for_less(tmp_path, monkeypatch):
    path = tmp_path / "c++"
    real = next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))))
    path.write_text(f'#!/bin/sh\ncase "$*" in *native*) exit 1;; esac\nexec {real} "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    assert build.library() is not None


def test_a_damaged_file_in_the_cache_is_told(monkeypatch, caplog):
    monkeypatch.setattr(build, "_compile", lambda compiler, target: target.write_bytes(b"\x7fELF broken"))
    assert build.library() is None
    assert "without our kernels" in caplog.text
