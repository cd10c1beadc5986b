"""Memory of this process, on the CPU or a GPU: what it may still take, what it took at most, what it gives back."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

__all__ = ["Peak", "free_bytes", "in_words", "keep_freed_memory", "return_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)

ROOT, OWN = Path("/"), Path("/proc/self")


def free_bytes(device: torch.device, root: Path = ROOT) -> int:
    """Bytes that this process may still take on a device.

    Of a GPU: what is free there, and what this process holds and does not use. Of main memory: what the system could
    give away without swapping, and no more than any control group of this process (a container, a batch job) allows.

    Args:
        device: where.
        root: of the file system, in which Linux tells of itself.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    return max(0, min([_available(root), *_allowed(root)]))


def _available(root: Path) -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"))
    if found is not None:
        return 1024 * int(found[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # other systems do not tell what is free


def _allowed(root: Path) -> Iterator[int]:
    """What each control group of memory leaves, from the innermost to the outermost that can be seen (cgroups(7))."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, kinds, path = line.split(":", 2)
        if number == "0":
            top, limit, used, cache = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in kinds.split(","):
            top, cache = "sys/fs/cgroup/memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for inner in (group, *group.parents):
            folder = root / top / inner
            most, now = _text(folder / limit).strip(), _text(folder / used).strip()
            if most.isdecimal() and now.isdecimal():
                reclaimed = re.search(rf"^{cache} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
                yield int(most) - int(now) + (int(reclaimed[1]) if reclaimed else 0)


def _text(path: Path) -> str:
    """Of a file; nothing where there is none."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


class Peak:
    """The most memory that this process takes on a device from now on, above what it takes now."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._told = device, True
        self.again()
        self._before = self._status("VmRSS", torch.cuda.memory_allocated)

    def again(self) -> None:
        """Forget what it took until now; still above what it took in the beginning."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            (OWN / "clear_refs").write_text("5")  # the largest so far becomes what it is now (proc(5))
        except OSError:
            self._told = False

    def bytes(self) -> int | None:
        """So far; None where the system does not tell."""
        most = self._status("VmHWM", torch.cuda.max_memory_allocated)
        return None if most is None or self._before is None else most - self._before

    def _status(self, name: str, of_gpu: Callable[[torch.device], int]) -> int | None:
        if self._device.type == "cuda":
            return of_gpu(self._device)
        found = re.search(rf"{name}:\s+(\d+) kB", _text(OWN / "status"))
        return 1024 * int(found[1]) if found and self._told else None


def in_words(size: int | None) -> str:
    """Bytes, as people say them."""
    if size is None:
        return "–"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def return_freed_memory() -> None:
    """To the system, where the C library keeps it for itself (glibc does with all below 32 MiB)."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """For what comes next, in this process from now on, instead of giving it back to the system; blocks up to 32 MiB.

    A step of training takes and gives back the same memory again and again. By itself, glibc gives the end of its heap
    back whenever that is free, and the system fills every page with zeros anew: a tenth of a step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
