"""Draw a document: its sentences from top to bottom, and beside each how surprising it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.errors import check_extra, one_line, shorten
from lang_jepa.files.atomic import atomic_file
from lang_jepa.inference.document import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 60
"""Most sentences that are written out; of a longer document only the most surprising are."""
_WRITTEN = 12
"""Sentences of a longer document that are written out."""
_LETTERS = 88


def draw_study(found: Study, path: Path, *, title: str = "", unit: str = "sentence") -> None:
    """Draw a study as a PNG, written atomically.

    Args:
        found: what `lang_jepa.inference.document.study` returns.
        path: path of the picture.
        title: what was read.
        unit: what a sentence is called.
    """
    check_extra("evaluate", "drawing")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(found.topics.sentences)
    rows = list(range(count)) if count <= MOST else sorted(one.position for one in found.surprise.ranked()[:_WRITTEN])
    figure = Figure(figsize=(12, 2.2 + 0.27 * len(rows) + (2.5 if count > MOST else 0)), layout="constrained")
    FigureCanvasAgg(figure)
    if count > MOST:
        course, axes = figure.subplots(2, 1, height_ratios=(2.5, 0.27 * len(rows) + 0.8))
        _draw_course(course, found, unit)
    else:
        axes = figure.subplots()
    _draw_rows(axes, found, rows)
    reference = "the same document" if found.surprise.against == "document" else "the training text"
    axes.set_xlabel(f"high is surprising: deviations from shuffled {unit}s of {reference}")
    what = f"the {len(rows)} most surprising of {count} {unit}s" if count > MOST else f"surprise in {count} {unit}s"
    figure.suptitle(": ".join(filter(None, (one_line(title), what))), parse_math=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw_rows(axes: "Axes", found: Study, rows: Sequence[int]) -> None:
    """Draw a bar and a dot beside each of some sentences, and a line above one that begins a topic.

    Bars begin at the left edge, since 0, how well an average shuffled sentence fits, is not the least: the longer a
    bar, the more surprising. Dots are left out where they would be at the ends of all bars.
    """
    place = {position: row for row, position in enumerate(rows)}
    surprise, out_of_place = (
        {
            place[one.position]: one.surprise
            for one in fits.sentences
            if one.position in place and one.surprise is not None
        }
        for fits in (found.surprise, found.outliers)
    )
    known = [0.0, *surprise.values(), *out_of_place.values()]
    left = min(known) - 0.05 * (max(known) - min(known))
    axes.barh(
        list(surprise), [one - left for one in surprise.values()], left=left, color="tab:orange", label="surprise"
    )
    if surprise != out_of_place:
        axes.plot(list(out_of_place.values()), list(out_of_place), "o", color="tab:blue", label="out of place")
    begins = [place[position] - 0.5 for position in found.topics.boundaries if position in place]
    for number, row in enumerate(begins):
        label = "" if number else "a topic begins"
        axes.axhline(row, color="black", linestyle=":", linewidth=1, label=label)
    axes.axvline(0.0, color="black", linewidth=0.8, label="a shuffled sentence")
    axes.set_xlim(left=left)
    sentences = found.topics.sentences
    axes.set_yticks(range(len(rows)), [f"{shorten(one_line(sentences[row]), _LETTERS)}  {row}" for row in rows])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
        text.set_fontsize(8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncol=4, frameon=False)


def _draw_course(axes: "Axes", found: Study, unit: str) -> None:
    """Draw surprise over a long document, with a line where a topic begins."""
    known = [one for one in found.surprise.sentences if one.surprise is not None]
    surprises: Any = [one.surprise for one in known]
    axes.plot([one.position for one in known], surprises, color="tab:orange", linewidth=0.8)
    for position in found.topics.boundaries:
        axes.axvline(position - 0.5, color="black", linestyle=":", linewidth=0.8)
    axes.set_xlabel(unit)
    axes.set_ylabel("surprise")
    axes.grid(alpha=0.3)
