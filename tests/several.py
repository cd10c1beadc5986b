"""Trainings one after the other, as one rank of several. Imported once, by the server that forks those of a test."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.parallel  # with these, a rank need not take seconds to import them
from torch.distributed import checkpoint, fsdp  # noqa: F401

from factory import QUIET
from sfumato.errors import SfumatoError
from sfumato.training.config import TrainConfig
from sfumato.training.loop import train


def run(runs: Sequence[TrainConfig], environment: dict[str, str], said: Path, die: tuple[int, int] | None) -> None:
    """Train, and end as the command line would.

    Args:
        runs: one after the other; several in one group, which is there before them, as in Ray.
        environment: what torchrun would say.
        said: where errors and warnings go.
        die: rank 1 gets that signal, in that step.
    """
    os.environ.update(environment)
    os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
    torch.set_num_threads(1)
    if die and os.environ["RANK"] == "1":
        left, update = [die[1]], torch.optim.AdamW.step

        def step(self, *args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), die[0])
            return update(self, *args, **kwargs)

        torch.optim.AdamW.step = step  # type: ignore[method-assign]
    if len(runs) > 1:
        dist.init_process_group("gloo")
    try:
        for config in runs:
            train(config, QUIET)
    except SfumatoError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if len(runs) > 1:
        dist.destroy_process_group()
