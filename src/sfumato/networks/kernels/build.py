"""Compiles the kernels for this machine, once, and keeps what comes out in the cache."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from sfumato.files import atomic_path, cache_folder

__all__ = ["available", "library"]

SWITCH = "SFUMATO_KERNELS"
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC")
NATIVE = "-march=native"
WISHES = ((NATIVE, "-fopenmp"), (NATIVE,), ("-mcpu=native",), ())  # what a compiler may not know; first that works
SECONDS = 600  # some are enough, but a busy machine may have no time for it
HERE = Path(__file__).parent
HEADER, SOURCES = HERE / "vectors.h", (HERE / "winograd.cpp", HERE / "norm.cpp")
SIGNATURES = {  # arguments and result
    "sfumato_spread_weights": ("pp" + "n" * 6 + "ii", "i"),
    "sfumato_spread_size": ("nni", "n"),
    "sfumato_probe": ("pn", "n"),
    "sfumato_convolve_room": ("nnnnniii", "n"),
    "sfumato_convolve": ("pppppnnnnnii", "i"),
    "sfumato_convolve_once": ("ppppp" + "n" * 9 + "ii", "i"),
    "sfumato_weight_gradient": ("pppnnnnni", "i"),
    "sfumato_normalise": ("p" * 8 + "nnnnn" + "dii", "i"),
    "sfumato_normalise_gradients": ("p" * 14 + "nnnnn" + "ii", "i"),
}

log = logging.getLogger("sfumato")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there is no compiler for them, or the environment says SFUMATO_KERNELS=off.

    A first call compiles, which takes some seconds; what came out is kept by source, compiler, flags and processor.
    """
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return None
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None or sys.platform == "win32":
        log.info("no C++ compiler is there: networks run without our kernels, which is slower")
        return None
    try:
        return _declared(ctypes.CDLL(str(_compiled(compiler))))
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        log.warning("networks run without our kernels, which is slower: %s", error)
        return None


def available() -> bool:
    """Whether there are kernels."""
    return library() is not None


# as torch.compiler.assume_constant_result does, which imports the compiler: to be called, not to be compiled
available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _compiled(compiler: str) -> Path:
    texts = [path.read_text("utf-8") for path in (HEADER, *SOURCES)]
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=SECONDS, check=True
    ).stdout
    facts = "\n".join([*texts, compiler, version, platform.machine(), _processor(), *FLAGS, *map(str, WISHES), *_own()])
    path = cache_folder() / "kernels" / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.so"
    if not path.is_file():
        with atomic_path(path) as temporary:
            _compile(compiler, temporary)
    return path


def _compile(compiler: str, target: Path) -> None:
    told = ""
    for wish in WISHES:
        command = [compiler, *FLAGS, *wish, *_own(), *map(str, SOURCES), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode == 0:
            return
        told = told or done.stderr.strip().partition("\n")[0]
    raise OSError(f"{compiler} could not compile them ({told})")


def _own() -> list[str]:
    """What the environment adds to the flags, as for any C++: -mno-avx512f, say."""
    return shlex.split(os.environ.get("CXXFLAGS", ""))


def _processor() -> str:
    """What -march=native depends on: a cache may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _declared(compiled: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of all arguments: p a pointer, n a long, i an int, d a double."""
    kinds = {"p": ctypes.c_void_p, "n": ctypes.c_long, "i": ctypes.c_int, "d": ctypes.c_double}
    for name, (arguments, result) in SIGNATURES.items():
        function = getattr(compiled, name)
        function.argtypes = [kinds[letter] for letter in arguments]
        function.restype = kinds.get(result)
    return compiled
