"""What a model says of texts, for people: the picture of a document, a story told and imagined."""

from pathlib import Path

from lang_jepa.files.atomic import atomic_file
from lang_jepa.inference.document import Study
from lang_jepa.training.load import load_any


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


def tell_story(path: Path) -> list[str]:
    """A held-out story with, at three places, the sentence that the model expected most, in words.

    The candidates are the next sentences of 256 held-out stories, the true one among them.
    """
    from lang_jepa.inference.search import rank_continuations
    from lang_jepa.stories import generate

    model = load_any(path)
    stories = list(generate(256, seed=1, split="heldout"))
    told = [sentence.text for sentence in stories[0].sentences]
    lines = [
        "A held-out story, and what the model expected among 256 sentences of other stories and the true one:",
        "",
    ]
    asked = {len(told) // 3, len(told) // 2, len(told) - 2}
    for place, sentence in enumerate(told):
        if place in asked:
            others = [story.sentences[min(place, len(story.sentences) - 1)].text for story in stories[1:]]
            (score, best), *_ = rank_continuations(model, told[:place], [sentence, *others])
            mark = "as told" if best == sentence else "but told was"
            lines.append(f"    expected ({score:.2f}, {mark}): {best}")
        lines.append(f"  {sentence}")
    return lines


def imagine_story(path: Path, *, told: int = 5, steps: int = 3) -> list[str]:
    """The beginning of a held-out story, and how the model imagines that it goes on, beside how it did."""
    from lang_jepa.stories import generate

    model = load_any(path)
    story = [sentence.text for sentence in next(iter(generate(1, seed=1, split="heldout"))).sentences]
    lines = ["The beginning of a held-out story, and how the model imagines that it goes on:", ""]
    lines += [f"  {text}" for text in story[:told]]
    found = model.imagine(story[:told], steps)
    lines += [f"    imagined ({one.agreement:.2f}): {one.text}" for one in found]
    lines += [f"    told was:        {text}" for text in story[told : told + steps]]
    return lines
