"""A picture of a table: when it calls the network, and what every row makes of what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfumato.errors import InputError
from sfumato.files import atomic_path
from sfumato.solvers.table import Table

__all__ = ["draw_table"]


def draw_table(table: Table, path: Path) -> None:
    """Draw the weights of a table into a PNG file: X, D and S by network call, over the times of the calls.

    Raises:
        InputError: when matplotlib is missing, or the file's name does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: the picture of a table is a PNG file; let its name end in .png")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("drawing needs matplotlib. Install it with: pip install 'sfumato[plot]'") from error
    figure = Figure(figsize=(max(6.0, 0.45 * table.calls + 3), 6.5), layout="constrained")
    times, points, pictures, noise = figure.subplots(4, 1, height_ratios=[2, 3, 3, 1.5], sharex=True)
    calls = np.arange(table.calls)
    times.plot(np.arange(table.calls + 1), table.times, "o-", color="black", markersize=4)
    times.set(
        title=f"{table.name}: {table.steps} steps, {table.calls} network calls, spacing {table.spacing}", ylabel="t"
    )
    for axes, weights, what in ((points, table.X, "points x"), (pictures, table.D, "denoised x̂0")):
        for lag in range(table.window):
            label = "this call" if lag == 0 else f"{lag} call{'s' * (lag > 1)} ago"
            if weights[:, lag].any():
                axes.plot(calls[lag:], weights[lag:, lag], ".-", label=label)
        axes.axhline(0, color="0.8", linewidth=1, zorder=0)
        axes.set(ylabel=f"weight of {what}")
        if weights.any():
            axes.legend(fontsize="small", ncols=4)
    noise.bar(calls, table.S, width=0.6, color="0.5")
    noise.set(ylabel="fresh noise", xlabel="network call")
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
