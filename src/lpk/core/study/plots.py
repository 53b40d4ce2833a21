"""The figures of a study as SVG and PNG, for a paper: what :mod:`lpk.core.study.figures` describes, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lpk.core.errors import EnvironmentMissing
from lpk.core.files import room, write_bytes
from lpk.core.study.figures import (
    COLOURS,
    MARKERS,
    PARTS,
    far_off,
    overlap_bars,
    styles,
    variance_notes,
    variance_parts,
)
from lpk.core.study.statistics import Found

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "svg.hashsalt": "lpk",
    "svg.fonttype": "path",
    "savefig.bbox": "standard",
}


def draw(folder: Path, figures: dict[str, Found], searchers: Sequence[str]) -> None:
    """Write ``NAME.svg`` and ``NAME.png`` for each figure, whole or not at all; the same data gives the same bytes.

    Raises:
        EnvironmentMissing: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise EnvironmentMissing('figures need matplotlib: pip install "lpk[study]"') from None

    with room(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        with mpl.rc_context(_STYLE):
            drawn = Figure(layout="constrained")
            FigureCanvasAgg(drawn)
            _DRAW[name](drawn, figure["panels"], styles(searchers))
            for ending, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
                whole = io.BytesIO()
                drawn.savefig(whole, format=ending, dpi=200, metadata=metadata)
                write_bytes(folder / f"{name}.{ending}", whole.getvalue())


def _grid(figure: Any, panels: int, height: float, width: float = 2.4, across: int = 4) -> list[Any]:
    """Axes for so many panels, at most ``across`` in a row; 9.6 inches are a page's width in landscape."""
    columns = min(across, panels)
    rows = -(-panels // columns)
    figure.set_size_inches(width * columns, height * rows + 0.6)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.set_visible(False)
    return axes[:panels]


def _legend(figure: Any, style: dict[str, tuple[int, int]]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[marker], color=COLOURS[colour], label=name, markersize=5)
        for name, (colour, marker) in style.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(8, len(handles)), handletextpad=0.1)


def _title(axes: Any, panel: Found) -> None:
    axes.set_title(f"{panel['model']}, {panel['budget']} removed\n{panel['objective']}", loc="left")


def _mark(axes: Any, x: float, y: float, style: tuple[int, int]) -> None:
    axes.plot(x, y, linestyle="", marker=MARKERS[style[1]], color=COLOURS[style[0]], markersize=5, alpha=0.9, mew=0)


def _draw_masks(figure: Any, panels: Sequence[Found], style: dict[str, tuple[int, int]]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    blue = LinearSegmentedColormap.from_list("removed", ["#F2F2F2", COLOURS[0]])
    tall = 0.16 * max(len(panel["rows"]) for panel in panels) + 0.75
    for axes, panel in zip(_grid(figure, len(panels), tall, 4.8, 2), panels, strict=True):
        shares = [row["share"] for row in panel["rows"]]
        axes.pcolormesh(shares, cmap=blue, vmin=0, vmax=1, edgecolors="white", linewidth=0.6)
        axes.set_yticks([i + 0.5 for i in range(len(shares))], [row["searcher"] for row in panel["rows"]])
        axes.set_xticks([i + 0.5 for i in range(0, panel["layers"], 4)], range(0, panel["layers"], 4))
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.spines[:].set_visible(False)
        axes.set_title(f"{panel['model']}, {panel['budget']} removed, {panel['objective']}", loc="left")
    several = any(row["draws"] > 1 for panel in panels for row in panel["rows"])
    figure.supxlabel(f"layer (0-based){'; darker: removed in more draws' if several else ''}", fontsize=8)


def _draw_ranks(figure: Any, panels: Sequence[Found], style: dict[str, tuple[int, int]]) -> None:
    for axes, panel in zip(_grid(figure, len(panels), 2.4), panels, strict=True):
        for point in panel["points"]:
            _mark(axes, point["perplexity_rank"], point["accuracy_rank"], style[point["searcher"]])
        axes.grid(True)
        most = panel["different_masks"]
        axes.set(xlim=(0.5, most + 0.5), ylim=(0.5, most + 0.5), aspect="equal")
        ticks = range(1, most + 1, 1 if most <= 12 else 2)  # more would touch
        axes.set(xticks=ticks, yticks=ticks)
        axes.invert_yaxis()
        axes.invert_xaxis()
        _title(axes, panel)
        if panel["rho"] is not None:
            text = f"\N{GREEK SMALL LETTER RHO} = {panel['rho']:.2f}, p = {panel['p']:.2g}\ncorrected {panel['corrected']:.2g}"
            axes.set_xlabel(text)
    figure.supxlabel("perplexity rank (1, the best, is right)", fontsize=8)
    figure.supylabel("accuracy rank (1, the best, is on top)", fontsize=8)
    _legend(figure, style)


def _draw_spread(figure: Any, panels: Sequence[Found], style: dict[str, tuple[int, int]]) -> None:
    for axes, panel in zip(_grid(figure, len(panels), 2.6, 4.8, 2), panels, strict=True):
        for place, column in enumerate(panel["columns"]):
            axes.add_patch(_band(place, column))
            axes.plot([place - 0.3, place + 0.3], [column["mean"]] * 2, color="#444444", linewidth=1)
            for point in column["points"]:
                aside = (list(style).index(point["searcher"]) + 0.5) / len(style) * 0.5 - 0.25
                _mark(axes, place + aside, point["value"], style[point["searcher"]])
        labels = [
            "\n".join([column["objective"], f"{column['budget']} removed", *variance_notes(column)])
            for column in panel["columns"]
        ]
        axes.set_xticks(range(len(labels)), labels)
        axes.grid(True, axis="y")
        axes.set(xlim=(-0.5, len(labels) - 0.5), title=panel["model"])
        if panel["outcome"] == "perplexity":
            _plain_log(axes.set_yscale, axes.yaxis)
        axes.set_ylabel("accuracy (%)" if panel["outcome"] == "accuracy" else "perplexity (log)")
    _legend(figure, style)


def _band(place: int, column: Found) -> Any:
    from matplotlib.patches import Rectangle

    height = column["highest"] - column["lowest"]
    return Rectangle((place - 0.3, column["lowest"]), 0.6, height, color="#EEEEEE", linewidth=0, zorder=0)


def _draw_overlap(figure: Any, panels: Sequence[Found], style: dict[str, tuple[int, int]]) -> None:
    for axes, panel in zip(_grid(figure, len(panels), 1.7, 4.8, 2), panels, strict=True):
        bars = [(label, value) for label, value in overlap_bars(panel) if value is not None]
        axes.barh([label for label, _ in bars], [value for _, value in bars], color=COLOURS[0], height=0.65)
        axes.axvline(panel["random"], color=COLOURS[1], linewidth=1.2, linestyle="--")
        axes.invert_yaxis()
        axes.set(xlim=(0, 1))
        axes.set_title(f"{panel['model']}, {panel['budget']} removed", loc="left")
    figure.supxlabel("mean Jaccard index of two masks that differ in this; dashed: masks drawn at random", fontsize=8)


def _draw_cost(figure: Any, panels: Sequence[Found], style: dict[str, tuple[int, int]]) -> None:
    for axes, panel in zip(_grid(figure, len(panels), 2.2), panels, strict=True):
        front = sorted((s["layer_forwards"], s["calibration_loss"]) for s in panel["searchers"] if s["front"])
        axes.step(*zip(*front, strict=True), where="post", color="#888888", linewidth=0.8, zorder=0)
        for one in panel["searchers"]:
            _mark(axes, max(one["layer_forwards"], 1), one["calibration_loss"], style[one["searcher"]])
        _plain_log(axes.set_xscale, axes.xaxis)
        axes.grid(True)
        _title(axes, panel)
    figure.supxlabel("layer-forwards (log); line: nobody is cheaper and better", fontsize=8)
    figure.supylabel("calibration loss", fontsize=8)
    _legend(figure, style)


def _draw_variance(figure: Any, panels: Sequence[Found], style: dict[str, tuple[int, int]]) -> None:
    from matplotlib.patches import Patch

    (axes,) = _grid(figure, 1, 0.32 * len(panels) + 0.8, 8, 1)
    for place, panel in enumerate(panels):
        left = 0.0
        for name, share, colour in variance_parts(panel):
            axes.barh(place, share, left=left, color=colour, height=0.7, label=name)
            if share > 0.06:
                axes.text(left + share / 2, place, f"{share:.0%}", ha="center", va="center", fontsize=7, color="white")
            left += share
    axes.set_yticks(range(len(panels)), [f"{panel['model']}: {panel['outcome']}" for panel in panels])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the variance (LMG)")
    handles = [Patch(color=colour, label=name) for name, colour in PARTS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _draw_fronts(figure: Any, panels: Sequence[Found], style: dict[str, tuple[int, int]]) -> None:
    for axes, panel in zip(_grid(figure, len(panels), 2.3), panels, strict=True):
        axes.step(*zip(*panel["line"], strict=True), where="post", color="#888888", linewidth=0.8, zorder=0)
        for point in (point for point in panel["points"] if not point["far"]):
            colour, marker = style[point["searcher"]]
            look: Any = {"marker": MARKERS[marker], "color": COLOURS[colour], "alpha": 0.9 if point["left"] else 0.35}
            ring: Any = {"mec": "black", "mew": 0.9} if point["answer"] else {"mew": 0}
            axes.plot(point["x"], point["y"], linestyle="", markersize=5, **look, **ring)
        axes.grid(True)
        aside = far_off(panel)
        axes.set(xlabel=panel["x"] + (f"\nfar off: {aside}" if aside else ""), ylabel=panel["y"])
        axes.set_title(
            f"{panel['model']}, {panel['budget']} removed\n{panel['objective']}, draw {panel['seed']}", loc="left"
        )
    figure.supxlabel("loss under each part; ringed: a search's answer; line: no mask is better in both", fontsize=8)
    _legend(figure, style)


def _plain_log(set_scale: Callable[[str], Any], axis: Any) -> None:
    """A logarithmic axis labelled 20, 50, 2k, not 2 x 10^1."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_formatter(NullFormatter())


_DRAW: dict[str, Callable[[Any, Sequence[Found], dict[str, tuple[int, int]]], None]] = {
    "masks": _draw_masks,
    "ranks": _draw_ranks,
    "spread": _draw_spread,
    "overlap": _draw_overlap,
    "cost": _draw_cost,
    "variance": _draw_variance,
    "fronts": _draw_fronts,
}
