"""What TensorBoard is shown of a run, where that is asked for: numbers, sheets and warnings, under OUT/tensorboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sfumato.errors import InputError
from sfumato.training.by_time import BUCKETS
from sfumato.training.options import RunOptions

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["FOLDER", "Board", "check_board"]

FOLDER = "tensorboard"


class Board:
    """Writes event files. Whatever earlier sittings wrote beyond `seen` is hidden: it is done again.

    Args:
        config: of the run. Raises `InputError` when TensorBoard is not installed.
        seen: pictures seen so far.
    """

    def __init__(self, config: RunOptions, seen: int) -> None:
        self._writer = _writer()(str(config.out / FOLDER), purge_step=seen + 1)

    def line(self, facts: Mapping[str, object]) -> None:
        """A line of the log: its numbers, those by time, and its warnings."""
        seen = facts["pictures"]
        assert isinstance(seen, int)
        for name, value in facts.items():
            if name == "by_time" and isinstance(value, Mapping):
                self._by_time(value, seen)
            elif name == "warnings" and isinstance(value, Mapping):
                for warning, text in value.items():
                    self._writer.add_text(f"warnings/{warning}", text, seen)
            elif isinstance(value, int | float) and name != "pictures":
                self._writer.add_scalar(name, value, seen)
        self._writer.flush()

    def picture(self, name: str, picture: np.ndarray, seen: int) -> None:
        """A sheet, uint8 (H, W, C)."""
        self._writer.add_image(name, picture, seen, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _by_time(self, means: Mapping[str, list[float | None]], seen: int) -> None:
        for name, values in means.items():
            for bucket, value in enumerate(values):
                if value is not None and name != "pictures":
                    start, end = bucket / BUCKETS, (bucket + 1) / BUCKETS
                    self._writer.add_scalar(f"{name}_by_time/{start:g}-{end:g}", value, seen)


def check_board(config: RunOptions) -> None:
    """Raise `InputError` when TensorBoard is asked for and not installed: before there is anything to wait for."""
    if config.tensorboard:
        _writer()


def _writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "--tensorboard needs TensorBoard, which is not installed: pip install 'sfumato[tensorboard]'. Without the "
            "option, log.jsonl has the same numbers, and sfumato report draws them."
        ) from error
    return SummaryWriter
