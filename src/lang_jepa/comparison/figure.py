"""The figures of a comparison: curves of held-out metrics, and metrics against the value of a setting."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.comparison.kind import flat
from lang_jepa.comparison.plan import Plan
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import atomic_file
from lang_jepa.training.metrics import STEP, read_metrics

Axis = Literal["steps", "seconds", "flops"]
AXES: tuple[Axis, ...] = ("steps", "seconds", "flops")


@dataclass(frozen=True)
class Curve:
    """The validations of one run.

    Attributes:
        axes: for each axis, float64 [L]: optimizer steps, seconds of training, and FLOPs so far.
        metrics: for each held-out metric, float64 [L].
    """

    axes: Mapping[Axis, NDArray[np.float64]]
    metrics: Mapping[str, NDArray[np.float64]]

    def at(self, axis: Axis, budget: float, metric: str) -> float:
        """Return the metric at this budget, interpolated linearly between validations."""
        return float(np.interp(budget, self.axes[axis], self.metrics[metric]))

    def to_json(self) -> dict[str, list[float]]:
        return {str(name): values.tolist() for name, values in [*self.axes.items(), *self.metrics.items()]}


def read_curve(path: Path, *, flops_per_step: float, columns: Sequence[str]) -> Curve:
    """Read the validations in a run's metrics.csv.

    Args:
        path: of the file.
        flops_per_step: counted for the variant.
        columns: metrics to read.

    Raises:
        LangJepaError: no validation was made, or one lacks a metric.
    """
    rows = [row for row in read_metrics(path) if "val/loss" in row]
    if not rows:
        raise LangJepaError(f"{path} holds no validation: raise data.val_fraction or data.limit")
    steps = np.array([row[STEP] for row in rows])
    axes: dict[Axis, NDArray[np.float64]] = {
        "steps": steps,
        "seconds": np.array([row["train/seconds"] for row in rows]),
        "flops": steps * flops_per_step,
    }
    lacking = [name for name in columns if any(name not in row for row in rows)]
    if lacking:
        raise LangJepaError(f"{path} holds validations without {', '.join(lacking)}: is more text held out?")
    return Curve(axes, {name: np.array([row[name] for row in rows]) for name in columns})


def equal_budgets(curves: Mapping[str, Sequence[Curve]], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Compare every metric at the largest budget that all runs reached, per axis.

    Args:
        curves: by variant, one per seed.
        metrics: their names.

    Returns:
        One entry per axis and metric: the budget, and mean and standard deviation over seeds of each variant.
    """
    found = []
    for axis in AXES:
        budget = min(float(curve.axes[axis][-1]) for runs in curves.values() for curve in runs)
        for metric in metrics:
            values = {name: [curve.at(axis, budget, metric) for curve in runs] for name, runs in curves.items()}
            found.append(
                {
                    "axis": axis,
                    "budget": budget,
                    "metric": metric,
                    "variants": {name: mean_and_std(row) for name, row in values.items()},
                }
            )
    return found


def mean_and_std(values: Sequence[float]) -> dict[str, float]:
    """Mean, and standard deviation over runs (0 for one)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": spread}


BASELINE = "#4d4d4d"
COLOURS = (BASELINE, "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a08a00")
"""The baseline in grey, then Okabe and Ito's palette, which colour-blind readers can tell apart."""
DASHES = ("-", "--", "-.", ":")
"""Line styles; once all colours are used, they repeat with the next style."""
_AXES = {"steps": "optimizer steps", "seconds": "seconds of training", "flops": "FLOPs"}


def draw(report: Mapping[str, Any]) -> Any:
    """Draw the curves with matplotlib: per variant the mean over seeds, and a band from the lowest to the highest.

    Args:
        report: from `outcome`.
    """
    wanted = report["panels"]
    figure = _figure(3.2 * len(wanted))
    panels = figure.subplots(len(wanted), len(AXES), sharey="row", squeeze=False)
    for row, panel in enumerate(wanted):
        for column, axis in enumerate(AXES):
            axes = panels[row, column]
            for (name, runs), (dash, colour) in zip(
                report["curves"].items(), cycle(product(DASHES, COLOURS)), strict=False
            ):
                style = {"color": colour, "linestyle": dash, "label": name, "linewidth": 1.8}
                _line(axes, runs, axis, panel["metric"], style)
            _mark_equal(axes, report, axis)
            _plain(axes)
            axes.set_xlim(left=0)
            if row == len(wanted) - 1:
                axes.set_xlabel(_AXES[axis])
            if column == 0:
                axes.set_title(panel["title"], loc="left", fontsize=10)
            if column == 0 and panel["from_zero"]:  # a cut axis makes small changes look large
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False, handlelength=3)
    return figure


def _figure(height: float) -> Any:
    """Return an empty figure of the page's width."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _plain(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def as_svg(figure: Any) -> str:
    """Return a figure as an SVG element to embed in HTML: no prolog, no metadata, nothing to fetch."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lang-jepa", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # HTML knows the namespaces; without them the page holds no address at all.
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    return re.sub(r' (?:width|height)="[^"]*"', "", text, count=2)  # those of the whole, so that it fits the page


def save_png(figure: Any, path: Path) -> None:
    """Save a figure as a PNG, atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def _line(
    axes: Any, runs: Sequence[Mapping[str, list[float]]], axis: str, metric: str, style: Mapping[str, Any]
) -> None:
    """Draw mean and band over seeds; a variant's runs are validated at the same steps, so each step is averaged."""
    x = np.mean(_table(runs, axis), axis=0)
    values = _table(runs, metric)
    axes.plot(x, values.mean(0), **style)
    if len(runs) > 1:
        axes.fill_between(x, values.min(0), values.max(0), color=style["color"], alpha=0.18, linewidth=0)


def _table(runs: Sequence[Mapping[str, list[float]]], name: str) -> NDArray[np.float64]:
    return np.array([run[name] for run in runs])


def _mark_equal(axes: Any, report: Mapping[str, Any], axis: str) -> None:
    """Draw a dotted line at the equal budget at which variants are compared, if some went further."""
    budget = next(one["budget"] for one in report["equal_budgets"] if one["axis"] == axis)
    furthest = max(run[axis][-1] for runs in report["curves"].values() for run in runs)
    if budget < 0.98 * furthest:
        axes.axvline(budget, color="#888888", linestyle=":", linewidth=1)


_COLUMNS = 3


def numeric_series(plan: Plan) -> list[dict[str, Any]]:
    """Find settings that are compared at several values, all else equal.

    Returns:
        For each setting that is a number in the baseline and in a variant that differs from it in nothing else: its
        `key`, its `values` in ascending order, and the `variants` that have them.
    """
    trees = {one.name: flat(one.settings) for one in plan.variants}
    first = trees[plan.baseline.name]
    series: dict[str, dict[str, float]] = {}
    for name, tree in trees.items():
        keys = [key for key in first | tree if key not in plan.kind.ours and tree.get(key) != first.get(key)]
        if len(keys) == 1 and _is_number(first.get(keys[0])) and _is_number(tree.get(keys[0])):
            series.setdefault(keys[0], {plan.baseline.name: first[keys[0]]})[name] = tree[keys[0]]
    found = []
    for key, values in series.items():
        names = sorted(values, key=lambda name: values[name])
        found.append({"key": key, "values": [values[name] for name in names], "variants": names})
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def draw_dose(report: Mapping[str, Any], series: Mapping[str, Any]) -> Any:
    """Draw metrics against a setting's values with matplotlib, a panel for each judged metric.

    Each seed is a dot, the line joins the means, and the grey band is the baseline's mean and standard deviation over
    seeds. The values are placed in order at equal distances, since settings are often tried in powers.

    Args:
        report: from `outcome`.
        series: one of its `series`.
    """
    metrics: Sequence[Mapping[str, Any]] = report["points"]
    rows = -(-len(metrics) // _COLUMNS)
    figure = _figure(2.9 * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        _panel(axes, metric, report["baseline"], series)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: Any, metric: Mapping[str, Any], baseline: str, series: Mapping[str, Any]) -> None:
    """Draw one metric; a variant that does not have it is left out."""
    points = metric["variants"]
    positions = [position for position, name in enumerate(series["variants"]) if name in points]
    values = [np.asarray(points[series["variants"][position]]) for position in positions]
    own = np.asarray(points[baseline])
    spread = float(own.std(ddof=1)) if len(own) > 1 else 0.0
    axes.axhspan(own.mean() - spread, own.mean() + spread, color=BASELINE, alpha=0.15, linewidth=0)
    axes.plot(positions, [some.mean() for some in values], color="#0072b2", linewidth=1.6)
    for position, some in zip(positions, values, strict=True):
        axes.plot([position] * len(some), some, "o", color="#0072b2", markersize=4, alpha=0.55)
    axes.set_xticks(range(len(series["values"])), [f"{value:g}" for value in series["values"]])
    axes.set_xlabel(series["key"])
    axes.set_title(f"{metric['task']}, {metric['split']}\n{metric['name']}", loc="left", fontsize=9)
    axes.ticklabel_format(axis="y", useOffset=False)
    _plain(axes)
