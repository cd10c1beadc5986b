"""Makes a batch, and may kill itself in the middle of it. Used by test_batch."""

import os
import sys
from pathlib import Path

import torch

from factory import text_model
from sfumato.cli.sampling import size_from
from sfumato.generation.request import Request
from sfumato.generation.tasks import batch
from sfumato.generation.tasks.jobs import read_jobs
from sfumato.generation.tasks.manifest import Manifest

file, out, die = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)

left = [int(die.partition("=")[2] or 0)]
if die.startswith("picture="):  # after a picture was written, before its line
    write = batch.save_png

    def save_png(*arguments):
        write(*arguments)
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)

    batch.save_png = save_png
elif die.startswith("line="):  # in the middle of writing a line
    add = Manifest.add

    def add_or_die(self, facts):
        add(self, facts)
        left[0] -= 1
        if left[0] < 0:
            with open(self.path, "r+b") as manifest:
                manifest.truncate(self.path.stat().st_size - 40)
            os.kill(os.getpid(), 9)

    Manifest.add = add_or_die  # type: ignore[method-assign]

report = batch.make_batch(text_model(), lambda: read_jobs(file, Request(), 0, size_from), out, batch=3)
print(report.made, report.skipped)
