"""Runs a training whose every step says that it happened, and may kill itself inside a save. Used by test_resume."""

import os
import sys
from pathlib import Path

import torch

from factory import QUIET, config
from sfumato.training import checkpoint
from sfumato.training.loop import train

out, data, resume, die = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume", sys.argv[4]
torch.set_num_threads(1)

if die.startswith("step="):  # after so many steps
    left, update = [int(die[5:])], torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return update(self, *args, **kwargs)

    torch.optim.AdamW.step = step  # type: ignore[method-assign]
elif die.startswith("save="):  # in the middle of writing that checkpoint's file
    left, write = [int(die[5:])], checkpoint.write_tensors

    def write_tensors(tensors, path, header=None):
        write(tensors, path, header)
        left[0] -= 1
        if left[0] < 0:
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size // 2)
            os.kill(os.getpid(), 9)

    checkpoint.write_tensors = write_tensors
elif die.startswith("swap="):  # between the two renames that put a new model folder in the place of the old one
    left, rename = [int(die[5:])], os.rename

    def rename_or_die(old, new):
        rename(old, new)
        if str(new).endswith(".model.old"):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), 9)

    os.rename = rename_or_die

changes = {"network": config("", Path()).network.__class__(**{**config("", Path()).network.__dict__, "dropout": 0.1})}
train(config(data, out, resume=resume, accumulate=2, **changes), QUIET)
