"""Every metric against the value of a setting: what a comparison of several values of it comes to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lang_jepa.comparison.figure import BASELINE, as_svg
from lang_jepa.comparison.plan import Plan
from lang_jepa.comparison.trees import flat

_COLUMNS = 3


def numeric_series(plan: Plan) -> list[dict[str, Any]]:
    """Settings of which several values are compared, all else equal.

    Returns:
        For each setting that is a number in the baseline and in a variant that differs from it in nothing else: its
        `key`, and by rising value the `values` and the `variants` that have them.
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


def dose_svg(report: Mapping[str, Any], series: Mapping[str, Any]) -> str:
    """The figure of one setting as an SVG element; see `draw_dose`."""
    return as_svg(draw_dose(report, series))


def draw_dose(report: Mapping[str, Any], series: Mapping[str, Any]) -> Any:
    """A matplotlib figure with a panel for each judged metric.

    Each seed is a dot, the line joins the means, the grey band is the baseline's mean and standard deviation over
    seeds. The values stand side by side at equal distances, in order: settings are often tried in powers.

    Args:
        report: of `outcome`.
        series: one of its `series`.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    metrics: Sequence[Mapping[str, Any]] = report["points"]
    rows = -(-len(metrics) // _COLUMNS)
    figure = Figure(figsize=(12, 2.9 * rows), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        _panel(axes, metric, report["baseline"], series)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: Any, metric: Mapping[str, Any], baseline: str, series: Mapping[str, Any]) -> None:
    """One metric; a variant that does not have it is left out."""
    points = metric["variants"]
    places = [place for place, name in enumerate(series["variants"]) if name in points]
    values = [np.asarray(points[series["variants"][place]]) for place in places]
    own = np.asarray(points[baseline])
    spread = float(own.std(ddof=1)) if len(own) > 1 else 0.0
    axes.axhspan(own.mean() - spread, own.mean() + spread, color=BASELINE, alpha=0.15, linewidth=0)
    axes.plot(places, [some.mean() for some in values], color="#0072b2", linewidth=1.6)
    for place, some in zip(places, values, strict=True):
        axes.plot([place] * len(some), some, "o", color="#0072b2", markersize=4, alpha=0.55)
    axes.set_xticks(range(len(series["values"])), [f"{value:g}" for value in series["values"]])
    axes.set_xlabel(series["key"])
    axes.set_title(f"{metric['task']}, {metric['split']}\n{metric['name']}", loc="left", fontsize=9)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
