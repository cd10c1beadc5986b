"""The largest batch that fits into memory: by prediction on a CPU, by trying on a GPU; and what it is worth."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from sfumato.memory import Peak, free_bytes, in_words, return_freed_memory
from sfumato.training.config import TrainConfig
from sfumato.training.footprint import footprint, numbers
from sfumato.training.trial import Trial, place_of

__all__ = ["Found", "Row", "find_batch", "largest"]

SHARE = 0.8  # of the free memory that is taken at most
MOST = 2**16  # pictures at once
SECONDS = 5.0  # that a measured step may take on a CPU
WAYS = ((1, False), (2, False), (1, True), (2, True))  # micro-batches, gradient checkpointing


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes:
        options: what is given beside --batch.
        batch: the largest that fits; 0: not even the smallest does.
        expected: its peak in bytes, by prediction and by what was measured above the prediction.
        tried: the batch that was measured: the largest, unless its step would take too long; 0: none.
        predicted, measured: bytes of that one; None where the system does not tell.
        rate: pictures/s of that one.
    """

    options: str
    batch: int
    expected: int
    tried: int = 0
    predicted: int = 0
    measured: int | None = None
    rate: float = 0.0


@dataclass(frozen=True)
class Found:
    """What `find_batch` has found.

    Attributes:
        machine: device, arithmetic, threads.
        parameters: of the network.
        free, most: bytes that were free, and of which a training may take so many.
        asked: the batch of the config.
        rows: of every way to train; the first is without options.
    """

    machine: str
    parameters: int
    free: int
    most: int
    asked: int
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        table = [["", "largest batch", "expected", "tried", "predicted", "measured", "pictures/s"]]
        for row in self.rows:
            tried = ["–", "–", "–", "–"]
            if row.tried:
                tried = [f"{row.tried:,}", in_words(row.predicted), in_words(row.measured), f"{row.rate:.3g}"]
            fits = f"{row.batch:,}" if row.batch else "none fits"
            table.append([row.options or "(no option)", fits, in_words(row.expected), *tried])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                [line[0].ljust(widths[0]), *(text.rjust(n) for text, n in zip(line[1:], widths[1:], strict=True))]
            )
            for line in table
        ]
        return "\n".join(
            [
                f"network:  {self.parameters:,} parameters, on {self.machine}",
                f"memory:   {in_words(self.free)} free; {100 * SHARE:.0f} % of it may be taken: {in_words(self.most)}",
                *lines,
                self._advice(),
            ]
        )

    def _advice(self) -> str:
        """For the batch that was asked for."""
        for row, further in ((self.rows[0], ""), (self.rows[2], " --gradient-checkpointing")):
            parts = [k for k in range(1, self.asked + 1) if self.asked % k == 0 and self.asked // k <= row.batch]
            if parts:
                accumulate = f" --accumulate {parts[0]}" if parts[0] > 1 else ""
                return f"for yours: --batch {self.asked}{accumulate}{further}"
        return "not a single picture fits: take a smaller network or smaller pictures"


def find_batch(config: TrainConfig, most: int = MOST) -> Found:
    """Find the largest batch with and without accumulation and gradient checkpointing, and measure a step of each.

    No data is read, and nothing is written: the pictures are noise, see `trial`. On a GPU steps are made until memory
    runs out, of `SHARE` of what is free. On a CPU, where that would make the whole machine stand still, the prediction
    decides (`footprint`), corrected by what is measured in steps of 1, 2, 4 … pictures, as long as they take `SECONDS`
    at most.

    Args:
        config: of the training. Its batch and how it is split are not looked at.
        most: pictures at once to try at most.

    Raises:
        InputError: for texts or latents, and for what `train` would refuse.
    """
    place = place_of(config)
    device = torch.device(place.device)
    free = free_bytes(device)
    may, row = int(SHARE * free), _by_trying if device.type == "cuda" else _by_prediction
    with torch.random.fork_rng():
        if config.threads:
            torch.set_num_threads(config.threads)
        rows = []
        for parts, recomputes in WAYS:
            rows.append(
                row(replace(config, accumulate=parts, batch=parts, gradient_checkpointing=recomputes), may, most)
            )
            gc.collect()
            return_freed_memory()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    machine = f"{name}, {'bfloat16' if place.half else 'float32'}"
    return Found(machine, numbers(place.network), free, may, config.batch, tuple(rows))


def largest(fits: Callable[[int], bool], most: int = MOST) -> int:
    """The largest n from 1 to `most` that fits, where with a number all smaller ones do; 0 where none does.

    By doubling, then by halving what is between: nothing is tried that is more than twice of what has fitted.
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _by_prediction(config: TrainConfig, may: int, most: int) -> Row:
    """One way on a CPU: doubled as long as it will fit, by prediction and by what was measured above the prediction.

    Allocators keep memory for themselves: of that there is no less with more pictures, and at most in proportion.
    """
    taken, parts = footprint(config, place_of(config)), config.accumulate
    tried, seconds, above, measured = 0, 0.0, 0, None

    def expected(count: int) -> int:
        return taken.peak(count) + round(above * max(1.0, count / max(tried, 1)))

    count = largest(lambda n: expected(n) <= may, most)
    if not count:
        return Row(_options(config), 0, expected(1))
    peak, trial = Peak(torch.device("cpu")), Trial(config)
    while tried < count and 2 * seconds <= SECONDS:
        tried = min(max(2 * tried, 1), count)
        trial.step(tried)
        seconds, measured = trial.step(tried), peak.bytes()
        above = max(0, (measured or 0) - taken.peak(tried))
        count = largest(lambda n: expected(n) <= may, most)
    rate = parts * tried / seconds
    return Row(
        _options(config),
        parts * count,
        expected(max(count, 1)),
        parts * tried,
        taken.peak(tried),
        measured,
        rate,
    )


def _by_trying(config: TrainConfig, may: int, most: int) -> Row:
    """One way on a GPU."""
    place, parts = place_of(config), config.accumulate
    device = torch.device(place.device)
    whole = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min((torch.cuda.memory_allocated(device) + may) / whole, 1.0), device)
    taken = footprint(config, place)
    try:
        peak, trial = Peak(device), Trial(config)

        def fits(count: int) -> bool:
            try:
                trial.step(count)
            except torch.OutOfMemoryError:
                trial.forget()
                torch.cuda.empty_cache()
                return False
            return True

        count = largest(fits, most)
        if not count:
            return Row(_options(config), 0, taken.peak(1))
        trial.step(count)
        peak.again()
        seconds, measured = trial.step(count), peak.bytes()
    except torch.OutOfMemoryError:  # of the weights and what belongs to them
        return Row(_options(config), 0, taken.peak(1))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    batch, predicted = parts * count, taken.peak(count)
    return Row(_options(config), batch, measured or predicted, batch, predicted, measured, batch / seconds)


def _options(config: TrainConfig) -> str:
    accumulate = [f"--accumulate {config.accumulate}"] if config.accumulate > 1 else []
    return " ".join([*accumulate, *(["--gradient-checkpointing"] if config.gradient_checkpointing else [])])
