"""Drawings for the page, as inline SVG: bars with their intervals, and the curve of a training."""

from collections.abc import Mapping, Sequence
from html import escape

from lang_jepa.training.metrics import STEP

RECALL = "val/retrieval/recall@1"
_WIDE, _HIGH, _LEFT, _LOW = 640, 220, 52, 34
"""Size of the curve, and the space for labels to its left and below it, in pixels."""


def bar(value: float, low: float | None, high: float | None, most: float, *, own: bool) -> str:
    """Draw a score as a bar, with a line from one end of its interval to the other.

    Args:
        value, low, high: from 0 to 1. most: the value at full width.
        own: whether it is the model's.
    """
    scale = 100 / max(most, 1e-9)
    colour = "var(--own)" if own else "var(--other)"
    parts = [f'<rect x="0" y="4" width="{max(0.4, value * scale):.2f}" height="14" rx="1" fill="{colour}"/>']
    if low is not None and high is not None:
        line = 'stroke="currentColor" vector-effect="non-scaling-stroke" stroke-width="1.5"'
        parts.append(f'<path d="M{low * scale:.2f} 11H{high * scale:.2f}" {line}/>')
        parts += [f'<path d="M{end * scale:.2f} 7V15" {line}/>' for end in (low, high)]
    return f'<svg viewBox="0 0 100 22" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def curve(rows: Sequence[Mapping[str, float]], kept: int | None) -> str:
    """Draw held-out recall@1 over the steps of a training; empty if it was validated fewer than twice.

    Args:
        rows: of metrics.csv.
        kept: the step whose weights became the model (None: the last one).
    """
    points = [(row[STEP], row[RECALL]) for row in rows if RECALL in row]
    if len(points) < 2:
        return ""
    last, most = max(step for step, _ in points), max(0.01, *(value for _, value in points)) * 1.1

    def at(step: float, value: float) -> tuple[float, float]:
        return (
            _LEFT + step / max(last, 1) * (_WIDE - _LEFT - 16),
            (_HIGH - _LOW) - value / most * (_HIGH - _LOW - 14),
        )

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
    ticks = [most / 1.1 * share for share in (0, 0.5, 1)]
    grid = "".join(
        f'<path d="M{_LEFT} {at(0, value)[1]:.1f}H{_WIDE - 16}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 8}" y="{at(0, value)[1] + 4:.1f}" text-anchor="end">{100 * value:.1f} %</text>'
        for value in ticks
    )
    steps = "".join(
        f'<text x="{at(step, 0)[0]:.1f}" y="{_HIGH - 14}" text-anchor="middle">{step:,.0f}</text>'
        for step in (0, last / 2, last)
    )
    chosen = [point for point in points if point[0] == (last if kept is None else kept)]
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="var(--own)" stroke="var(--paper)" stroke-width="2"/>'
        for x, y in (at(*point) for point in chosen[-1:])
    )
    said = ", ".join(f"step {step:.0f}: {100 * value:.1f} %" for step, value in points)
    return (
        f'<svg class="curve" viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{escape(said)}">{grid}{steps}'
        f'<polyline points="{line}" fill="none" stroke="var(--own)" stroke-width="2"/>{dots}</svg>'
    )
