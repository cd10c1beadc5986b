"""Bars that count pictures while they are made, and are gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

__all__ = ["counted", "staged"]


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told (done, of how many)."""
    with staged() as tell:
        tell(what, 0, None)
        yield partial(tell, what)


@contextmanager
def staged() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield what is told (what is being done, done, of how many): there is a bar for one thing at a time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        current = {}

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in current:
                for task in current.values():
                    bar.remove_task(task)
                current.clear()
                current[stage] = bar.add_task(stage, total=total)
            bar.update(current[stage], completed=done, total=total)

        yield tell
