"""A workload in a process of its own."""

from __future__ import annotations

import importlib
import json
import warnings

import torch

__all__ = ["measured"]


def measured(name: str, threads: int, quick: bool) -> list[dict]:
    """All rows of a workload, in this process."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    found = []
    for row in importlib.import_module(f"bench.speed.{name}").rows(threads, quick):
        found.append({"threads": threads, **row})
        print(name, json.dumps(found[-1]), flush=True)
    return found
