"""Study each document of a collection by itself: a summary line for each, and the most surprising passages of all."""

from dataclasses import dataclass

from lang_jepa.errors import LangJepaError
from lang_jepa.inference.document import Against, Study, Using, study
from lang_jepa.inference.document_reading import Progress, silent
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.folders.reading import Collection, Placed


@dataclass(frozen=True, slots=True)
class Passage:
    """A unit of a document.

    Attributes:
        place: `path:line`, or the document's name if the line is not known.
        document: name of the document.
        position: position in the document, from 0.
        surprise: standard deviations by which it fits worse than shuffled units; high is surprising. None if nothing is
            expected (the first unit of a document).
        out_of_place: the same with both sides known.
        text: the unit.
        before: the unit before it, empty at the beginning.
        begins_topic: whether a topic begins with it.
        repeats: position of an earlier unit of the document that it repeats, or None.
    """

    place: str
    document: str
    position: int
    surprise: float | None
    out_of_place: float | None
    text: str
    before: str
    begins_topic: bool
    repeats: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of a document.

    Attributes:
        document: its name.
        units: how many it has.
        topics: how many segments it has. repeats: how many units repeat an earlier one.
        mean: mean surprise of its units; None if none is known.
        most: its most surprising unit, or None.
    """

    document: str
    units: int
    topics: int
    repeats: int
    mean: float | None
    most: Passage | None

    @property
    def highest(self) -> float | None:
        """The surprise of its most surprising unit."""
        return None if self.most is None else self.most.surprise


@dataclass(frozen=True, slots=True)
class FolderStudy:
    """The study of all documents of a collection.

    Attributes:
        source: what was read, in words.
        used: how surprise was measured, in words.
        against: whose units were shuffled in to calibrate; the same for all documents, so that they can be compared.
        documents: in the order of the source.
        passages: all units of all documents, in order.
        left_out: documents without a unit that the model can read; single units without a token are left out too.
    """

    source: str
    used: str
    against: Against
    documents: list[Summary]
    passages: list[Passage]
    left_out: list[str]

    def ranked(self) -> list[Passage]:
        """Return the passages with a surprise, the most surprising first."""
        return ranked(self.passages)


def ranked(passages: list[Passage]) -> list[Passage]:
    """Return the passages with a surprise, the most surprising first."""
    known = [(one.surprise, one) for one in passages if one.surprise is not None]
    return [one for _, one in sorted(known, key=lambda pair: -pair[0])]


def study_folder(
    model: EmbeddingModel,
    found: Collection,
    *,
    using: Using = "best",
    against: Against | None = None,
    progress: Progress = silent,
) -> FolderStudy:
    """Study each document of a collection.

    Args:
        model, using: see `lang_jepa.inference.document.study`.
        found: the documents.
        against: whose units are shuffled in (None: those of the training that are stored with the model, since
            documents can be compared only by one reference; if there are none, each document's own).
        progress: called with the number of documents done.

    Raises:
        LangJepaError: as `study`; no document that the model can read.
    """
    chosen: Against = against or ("document" if model.statistics.sample is None else "training")
    summaries, passages, left_out, used = list[Summary](), list[Passage](), list[str](), ""
    for number, whole in enumerate(found.documents):
        progress("documents studied", number, len(found.documents))
        tokens = model.tokenize(whole.units, turns=model.knows_speakers) if whole.units else []
        one = whole.only([position for position, ids in enumerate(tokens) if len(ids)])
        if not one.units:
            left_out.append(one.name)
            continue
        result = study(model, one.units, using=using, against=chosen)
        own = _passages(one, result)
        used = result.surprise.used
        values = [passage.surprise for passage in own if passage.surprise is not None]
        summaries.append(
            Summary(
                one.name,
                len(own),
                len(result.topics.boundaries) + 1,
                sum(passage.repeats is not None for passage in own),
                sum(values) / len(values) if values else None,
                next(iter(ranked(own)), None),
            )
        )
        passages += own
    progress("documents studied", len(found.documents), len(found.documents))
    if not summaries:
        raise LangJepaError(f"no document of {found.source} has text that this model can read")
    return FolderStudy(found.source, used, chosen, summaries, passages, left_out)


def _passages(document: Placed, result: Study) -> list[Passage]:
    repeats = {one.position: one.earlier for one in result.repetitions if one.repeats}
    units = document.units
    return [
        Passage(
            document.where(one.position),
            document.name,
            one.position,
            one.surprise,
            fit.surprise,
            units[one.position],
            units[one.position - 1] if one.position else "",
            one.position in result.topics.boundaries,
            repeats.get(one.position),
        )
        for one, fit in zip(result.surprise.sentences, result.outliers.sentences, strict=True)
    ]
