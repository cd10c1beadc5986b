"""A run's folder, of any kind of training that can be resumed: beginning a run there, or going on with one.

It holds config.json, data.safetensors where pictures are packed, log.jsonl, checkpoints/, samples/ and model/.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.files import check_writable, remove_leftovers, write_text
from sfumato.training.checkpoint import Position
from sfumato.training.config import stored_config
from sfumato.training.options import RunOptions
from sfumato.typed import build

__all__ = ["check_folder", "check_same", "locked", "record", "to_plain"]

# what may differ when a run goes on: where, how fast and how talkative …
FREE = {
    *("out", "workers", "resume", "device", "threads", "log_every", "checkpoint_every", "sample_every", "keep"),
    "tensorboard",
    *("accumulate", "parallel"),  # how many hands, and how they share the work
    *("gradient_checkpointing", "compile"),  # what is computed when, and by which code
    "max_bad",  # which stops a run, or does not
    *("start", "autoencoder", "text_encoder"),  # whose weights the fingerprint of the data knows
}
# … and what changes what is learned, but is a decision that one makes on the way
DECIDED = {"pictures", "lr", "clip"}


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a run's folder: a second process that wants it gets an `InputError`. The lock ends with the process."""
    check_writable(out, need_bytes=0)
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is training in {out}. Wait for it, or choose another folder.") from error
        for folder in (out, out / "checkpoints", out / "samples", out / "snapshots"):
            remove_leftovers(folder)
        yield


def check_folder(config: RunOptions, say: Callable[[str], None]) -> None:
    """Before a run begins or goes on. Raises `InputError` when the folder holds another run, or none to go on with."""
    if config.resume:
        before = build(type(config), stored_config(config.out), str(config.out / "config.json"))  # new options: default
        stored, present = to_plain(before), to_plain(config)
        for key in present:
            was, now = stored.get(key), present[key]
            if key in FREE or was == now:
                continue
            if key not in DECIDED:
                raise InputError(
                    f"--resume goes on with the same run, but {key} was {was!r} and now is {now!r}. Leave it out, or "
                    "start a new run in another folder."
                )
            say(f"Note: {key} was {was} and now is {now}. From where that takes effect, it is another run.")
    elif (config.out / "config.json").exists():
        raise InputError(
            f"{config.out} already holds a run. Go on with it: sfumato {config.verb} --out {config.out} --resume. "
            "Or choose another folder."
        )


def record(config: RunOptions) -> None:
    """Write config.json: from now on the folder holds this run, with these options."""
    write_text(config.out / "config.json", json.dumps(to_plain(config), indent=1) + "\n")


def check_same(position: Position, data: str, machine: str, say: Callable[[str], None]) -> None:
    """Refuse data of another fingerprint; say so when the machine differs, which may round sums differently."""
    if position.data not in ("", data):
        raise InputError("the data is not what this run was started with (its fingerprint differs)")
    if position.machine not in ("", machine):
        say(f"Note: now on {machine}, before on {position.machine}. Not bit for bit the same run.")


def to_plain(config: RunOptions) -> dict[str, Any]:
    """A config as JSON values: what is written equals what is read back."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))
