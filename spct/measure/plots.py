"""Write a figure so that equal figures are equal files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, stem: Path, *, dpi: int = 150) -> list[Path]:
    """Write `stem`.png and `stem`.svg, without dates, versions or random ids; return the paths."""
    from matplotlib import rc_context

    # the stem may hold dots, so no with_suffix
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    with rc_context({"svg.hashsalt": "spct"}):
        figure.savefig(paths[0], dpi=dpi, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths
