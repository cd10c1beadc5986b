"""Pictures of progressive coding: its curves, and what is seen after so many bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.evaluation.progressive import Progressive
from sfumato.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_curves", "draw_pictures", "need_matplotlib"]


def need_matplotlib() -> None:
    """Raise `InputError` when it is missing: before the work, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("drawing needs matplotlib. Install it with: pip install 'sfumato[plot]'") from error


def draw_curves(found: Progressive, path: Path) -> None:
    """Distortion and rate by steps, and one by the other (Ho et al. 2020, figure 5), as an SVG file."""
    figure = _figure(10.5, 3.2)
    distortion, rate, both = figure.subplots(1, 3)
    told = 1 - found.times
    distortion.plot(told, found.rmse)
    distortion.set(xlabel="reverse steps, share of all", ylabel="distortion (RMSE of 255)")
    rate.plot(told, found.rate)
    rate.set(xlabel="reverse steps, share of all", ylabel="rate (bits per dimension)")
    both.plot(found.rate, found.rmse)
    both.plot(found.rate[found.columns], found.rmse[found.columns], ".", color="black")
    both.set(xlabel="rate (bits per dimension)", ylabel="distortion (RMSE of 255)")
    for axes in (distortion, rate, both):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{found.facts['model']} on {found.facts['data']}", fontsize="medium")
    _save(figure, path, "svg")


def draw_pictures(found: Progressive, path: Path) -> None:
    """x̂0 after so many bits, a row a picture, as a PNG file."""
    rows, columns = found.pictures.shape[:2]
    figure = _figure(1.0 * columns, 1.0 * rows + 0.4)
    for row, axes_of_row in enumerate(figure.subplots(rows, columns, squeeze=False)):
        for column, axes in enumerate(axes_of_row):
            picture = found.pictures[row, column]
            grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if picture.shape[2] == 1 else {}
            axes.imshow(picture.squeeze() if grey else picture, **grey)
            axes.set_axis_off()
            if row == 0:
                bits = found.rate[found.columns[column]]
                axes.set_title(f"{bits:.2g} bits" if column else f"{bits:.2g} bits\nper value", fontsize="x-small")
    _save(figure, path, "png")


def _figure(width: float, height: float) -> Figure:
    need_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path, kind: str) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
