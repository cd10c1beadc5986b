"""Compiles the kernels for this machine, once, and keeps what comes out in the cache."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path

from sfumato.files import atomic_path, cache_folder

__all__ = ["library"]

SWITCH = "SFUMATO_KERNELS"
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC")
WISHES = (("-march=native", "-fopenmp"), ("-mcpu=native",), ())  # what a compiler may not know; first that works
SECONDS = 120

log = logging.getLogger("sfumato")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there is no compiler for them, or the environment says SFUMATO_KERNELS=off.

    A first call compiles, which takes some seconds; what came out is kept by source, compiler and processor.
    """
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return None
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None or sys.platform == "win32":
        log.info("no C++ compiler is there: convolutions run without our kernels, which is slower")
        return None
    source = files("sfumato") / "networks" / "kernels" / "winograd.cpp"
    try:
        path = _compiled(compiler, source.read_text("utf-8"))
        return _declared(ctypes.CDLL(str(path)))
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        log.warning("convolutions run without our kernels, which is slower: %s", error)
        return None


def _compiled(compiler: str, source: str) -> Path:
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=SECONDS, check=True
    ).stdout
    facts = "\n".join([source, compiler, version, platform.machine(), _processor(), *FLAGS, *map(str, WISHES)])
    path = cache_folder() / "kernels" / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.so"
    if not path.is_file():
        with atomic_path(path) as temporary:
            _compile(compiler, source, temporary)
    return path


def _compile(compiler: str, source: str, target: Path) -> None:
    told = ""
    for wish in WISHES:
        command = [compiler, *FLAGS, *wish, "-x", "c++", "-", "-o", str(target)]
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode == 0:
            return
        told = told or done.stderr.strip().partition("\n")[0]
    raise OSError(f"{compiler} could not compile them ({told})")


def _processor() -> str:
    """What -march=native depends on: a cache may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _declared(compiled: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_long
    compiled.sfumato_transformed_size.argtypes, compiled.sfumato_transformed_size.restype = [number] * 2, number
    compiled.sfumato_transform_weights.argtypes = [pointer] * 2 + [number] * 2 + [ctypes.c_int]
    compiled.sfumato_transform_weights.restype = None
    compiled.sfumato_convolve_room.argtypes = [number] * 5 + [ctypes.c_int]
    compiled.sfumato_convolve_room.restype = number
    compiled.sfumato_convolve.argtypes = [pointer] * 4 + [number] * 5 + [ctypes.c_int]
    compiled.sfumato_weight_gradient.argtypes = [pointer] * 3 + [number] * 5 + [ctypes.c_int]
    return compiled
