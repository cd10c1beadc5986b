"""What every training loop needs between its steps: the learning rate, a way to stop, and word of a full disk."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sfumato.errors import SfumatoError
from sfumato.training.options import LearningOptions, RunOptions

__all__ = ["disk_errors", "learning_rate", "stop_requests"]


def learning_rate(config: LearningOptions, seen: int) -> float:
    """Up from 0 over the warm-up, level, then down to 0 over the last `cooldown` share of the training."""
    rise = (seen + config.batch) / max(config.warmup, 1)
    fall = (config.pictures - seen) / max(config.cooldown * config.pictures, 1e-9)
    return config.lr * min(1.0, rise, fall)


@contextmanager
def disk_errors(config: RunOptions, seen: int) -> Iterator[None]:
    """A disk that is full or gone, told with what to do about it."""
    try:
        yield
    except OSError as error:
        raise SfumatoError(
            f"{config.out}: could not be written to at {seen:,} pictures: {error.strerror or error}. The last "
            f"checkpoint is whole. Make room, then go on with: sfumato {config.verb} --out {config.out} --resume"
        ) from error


@contextmanager
def stop_requests(patient: bool = False) -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets. Only the main thread can catch signals.

    A second one is not held back, unless it is `patient`: of several processes each may be told twice, by who tells
    all of them and by torchrun.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        stop.set()
        if not patient:
            for known, handler in old.items():
                signal.signal(known, handler)

    for number in old:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
