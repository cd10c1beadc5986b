"""What is free, on file systems made up; what was taken, of tensors of a known size."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sfumato import memory
from sfumato.memory import Peak, free_bytes, in_words, keep_freed_memory, return_freed_memory

CPU, MIB = torch.device("cpu"), 2**20


def machine(root: Path, /, available: int = 8 * MIB, **files: str) -> Path:
    """A file system in which Linux tells of itself; names with __ for /."""
    told = {"proc__meminfo": f"MemTotal: 99 kB\nMemAvailable:    {available // 1024} kB\n", **files}
    for name, text in told.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def group(folder, most, used, **stat):
    lines = "\n".join(f"{key} {value}" for key, value in stat.items())
    return {
        f"{folder}__memory.max": f"{most}\n",
        f"{folder}__memory.current": f"{used}\n",
        f"{folder}__memory.stat": lines,
    }


def test_what_the_system_could_give(tmp_path):
    assert free_bytes(CPU, machine(tmp_path)) == 8 * MIB


@pytest.mark.parametrize(
    ("inner", "outer", "left"),
    [
        (group("sys__fs__cgroup__jobs__mine", 5 * MIB, 2 * MIB), {}, 3 * MIB),
        (group("sys__fs__cgroup__jobs__mine", 5 * MIB, 2 * MIB, anon=7, inactive_file=MIB), {}, 4 * MIB),
        (group("sys__fs__cgroup__jobs__mine", "max", 2 * MIB), group("sys__fs__cgroup__jobs", 6 * MIB, 5 * MIB), MIB),
        (group("sys__fs__cgroup__jobs__mine", 100 * MIB, 2 * MIB), {}, 8 * MIB),
        (group("sys__fs__cgroup__jobs__mine", MIB, 2 * MIB), {}, 0),
        ({}, {}, 8 * MIB),
        ({"sys__fs__cgroup__jobs__mine__memory.max": "many\n"}, {}, 8 * MIB),
    ],
)
def test_no_more_than_every_control_group_leaves(tmp_path, inner, outer, left):
    root = machine(tmp_path, **{"proc__self__cgroup": "0::/jobs/mine\n"}, **inner, **outer)
    assert free_bytes(CPU, root) == left


def test_control_groups_of_the_first_version(tmp_path):
    folder = "sys__fs__cgroup__memory__job"
    files = {
        f"{folder}__memory.limit_in_bytes": f"{4 * MIB}\n",
        f"{folder}__memory.usage_in_bytes": f"{3 * MIB}\n",
        f"{folder}__memory.stat": f"cache 5\ninactive_file 7\ntotal_inactive_file {MIB // 2}\n",
    }
    files["proc__self__cgroup"] = "12:cpu,cpuacct:/job\n5:memory:/job\n"
    assert free_bytes(CPU, machine(tmp_path, 8 * MIB, **files)) == MIB + MIB // 2


def test_elsewhere_half_of_all_there_is(tmp_path):
    assert 2**28 < free_bytes(CPU, tmp_path) < 2**50


@pytest.mark.skipif(not (memory.OWN / "clear_refs").exists(), reason="needs a system that tells the peak")
def test_the_peak_is_above_what_there_was_and_stays_when_it_is_gone():
    before = torch.ones(64 * MIB // 4)
    return_freed_memory()
    peak = Peak(CPU)
    more = torch.ones(96 * MIB // 4)
    del more
    assert 90 * MIB < (peak.bytes() or 0) < 120 * MIB
    peak.again()
    after = peak.bytes()
    assert after is not None
    assert after < 32 * MIB
    assert before.sum() > 0


def test_where_no_peak_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "OWN", tmp_path)
    peak = Peak(CPU)
    peak.again()
    assert peak.bytes() is None


def test_words():
    assert [in_words(n) for n in (2_340_000, 999_000_000, 6_310_000_000, None)] == ["2 MB", "999 MB", "6.3 GB", "–"]


KEPT = """
import re, torch
from sfumato.memory import keep_freed_memory, return_freed_memory

def taken():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024

def step(size):
    held = [torch.zeros(size << 18) for _ in range(256 // size)]

before = taken()
for also, size in ((lambda: None, 8), (keep_freed_memory, 16), (return_freed_memory, None)):
    also()
    if size:
        step(size)
    print(taken() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose settings these are")
def test_freed_memory_is_kept_and_returned():
    """MiB that a process of its own still has of 256 freed ones: as the C library does by itself, kept, returned.

    The kept ones are in larger blocks, as the C library learns by itself to keep those of a size that it has seen.
    """
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    by_itself, kept, returned = map(int, done.stdout.split())
    assert by_itself <= 32
    assert kept >= 224
    assert returned <= 32


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    keep_freed_memory()
    return_freed_memory()
