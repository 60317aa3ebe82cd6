"""The picture of a document: surprise of its sentences, and where its topics begin."""

from pathlib import Path

from lang_jepa.files.atomic import atomic_file
from lang_jepa.inference.document import Study


def draw_document(found: Study, path: Path) -> None:
    """Write a PNG, atomically: surprise and misfit above, boundary scores below, over the sentences.

    Args:
        found: of `lang_jepa.inference.document.study`.
        path: of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(found.topics.sentences)
    figure = Figure(figsize=(max(6.0, min(24.0, 0.16 * count)), 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for label, fits in {"surprise": found.surprise, "out of place": found.outliers}.items():
        known = [one for one in fits.sentences if one.surprise is not None]
        above.plot([one.position for one in known], [one.surprise for one in known], marker=".", label=label)
    above.axhline(0.0, color="grey", linewidth=0.8)
    above.set_ylabel(f"deviations from a shuffled\nsentence of the {found.surprise.against}")
    above.legend(fontsize=8)
    # A boundary lies before its sentence.
    below.plot([place - 0.5 for place in range(1, count)], found.topics.scores, color="tab:green")
    below.set_ylabel("boundary score")
    below.set_xlabel("sentence")
    for axes in (above, below):
        for place in found.topics.boundaries:
            axes.axvline(place - 0.5, color="black", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
