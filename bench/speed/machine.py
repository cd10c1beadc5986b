"""What numbers were measured on, and how busy it was with other things."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["Load", "compiler", "facts"]

PACKAGES = ("torch", "numpy", "diffusers", "onnxruntime", "openvino")
EXTENSIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve")  # of what /proc/cpuinfo names


def facts() -> dict[str, object]:
    """Processor, versions, compiler; what is not known is left out."""
    told = _read("/proc/cpuinfo")
    name = re.search(r"model name\s*:\s*(.*)", told)
    flags = set(re.findall(r"\w+", "".join(re.findall(r"(?:flags|Features)\s*:\s*(.*)", told)[:1])))
    found: dict[str, object] = {
        "processor": f"{name[1] if name else platform.processor()} ({platform.machine()})",
        "extensions": [extension for extension in EXTENSIONS if extension in flags],
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "compiler": compiler(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def compiler() -> str | None:
    """What compiled our kernels; None where they are not used."""
    from sfumato.networks.kernels.build import library

    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if library() is None or compiler is None:
        return None
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    return told.partition("\n")[0]


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


class Load:
    """How busy the machine is with what is not ours, from now on.

    The load average before counts what ran until now, ours too; `others_cpus` is the processor time that everything
    else took, per second (Linux).
    """

    def __init__(self) -> None:
        self._average, self._began = os.getloadavg()[0], time.perf_counter()
        self._busy, self._own = _busy(), _own()

    def facts(self) -> dict[str, float]:
        found = {"load_average_before": round(self._average, 2), "load_average_after": round(os.getloadavg()[0], 2)}
        busy, own = _busy(), _own() - self._own
        if busy is not None and self._busy is not None:
            others = (busy - self._busy - own) / (time.perf_counter() - self._began)
            found["others_cpus"] = round(max(others, 0.0), 2)
        return found


def _busy() -> float | None:
    """Seconds that all processors have worked, or had taken from them by other virtual machines."""
    words = _read("/proc/stat").partition("\n")[0].split()
    if len(words) < 9:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds of this process, of its children that have ended, and of those that Python's pools keep."""
    times, kept = os.times(), 0.0
    for child in multiprocessing.active_children():
        words = _read(f"/proc/{child.pid}/stat").rpartition(")")[2].split()
        kept += sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime, stime
    return times.user + times.system + times.children_user + times.children_system + kept
