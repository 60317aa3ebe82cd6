"""What was found in a folder, in words and as tables; the first table of each list has everything."""

from typing import TYPE_CHECKING

from lang_jepa.errors import counted
from lang_jepa.inference.folders.files import Table

if TYPE_CHECKING:  # `duplicates` need not wait for torch
    from lang_jepa.inference.folders.duplicates import Duplicates
    from lang_jepa.inference.folders.study import FolderStudy
    from lang_jepa.inference.folders.topics import TopicMap


def about_duplicates(found: "Duplicates") -> str:
    """Say in a sentence how many copies and repeated sentences there are."""
    exact = sum(one.kind.startswith("exact") for one in found.duplicates)
    near = len(found.duplicates) - exact
    return (
        f"{counted(found.documents, 'document')}: {counted(exact, 'exact copy', 'exact copies')}, "
        f"{counted(near, 'near copy', 'near copies')}, {found.kept:,} different; "
        f"{counted(len(found.sentences), 'sentence')} of these {'stands' if len(found.sentences) == 1 else 'stand'} "
        "in more than one place"
    )


def duplicate_tables(found: "Duplicates") -> list[Table]:
    """Return everything (a row for each copy and each later place of a sentence), copies, and repeated sentences."""
    copies = [(one.document, one.kind, one.original, round(one.share, 3)) for one in found.duplicates]
    sentences = [(one.times, one.documents, "; ".join(one.places), one.sentence) for one in found.sentences]
    every: list[tuple[str | float, ...]] = [(kind, name, other, share, "", "") for name, kind, other, share in copies]
    for one in found.sentences:
        every += [("repeated sentence", place, one.places[0], "", one.times, one.sentence) for place in one.places[1:]]
    return [
        Table("All", ("kind", "place", "repeats", "share", "times", "sentence"), every),
        Table("Copies", ("document", "kind", "repeats", "share of its sentences"), copies),
        Table("Repeated sentences", ("times", "documents", "places", "sentence"), sentences),
    ]


def about_topics(found: "TopicMap", unit: str) -> str:
    """Say how many topics there are, why, and how they were found."""
    fit = "" if found.silhouette is None else f", silhouette {found.silhouette:.2f}"
    outside = f"; {found.outside:.0%} in none" if found.outside else ""
    return (
        f"{counted(len(found.topics), 'topic')} of {counted(len(found.units), unit)} ({found.chosen}{fit}){outside}; "
        f"{found.similarity} cosine, {found.method}"
    )


def topic_tables(found: "TopicMap", unit: str) -> list[Table]:
    """Return every unit with its topic, the topics, and the typical sentences of each."""
    words = {one.number: ", ".join(one.words) for one in found.topics}
    units = [(one.topic, words.get(one.topic, ""), one.place, one.text) for one in found.units]
    rows = [(one.number, f"{one.share:.1%}", one.units, words[one.number]) for one in found.topics]
    typical = [(one.number, near.place, near.text) for one in found.topics for near in one.typical]
    return [
        Table("All", ("topic", "words", "place", unit), units),
        Table("Topics", ("topic", "share", f"{unit}s", "words"), rows),
        Table("Typical sentences", ("topic", "place", "sentence"), typical),
    ]


def about_study(found: "FolderStudy", unit: str) -> str:
    """Say how much was read, and what the numbers mean."""
    whose = "the same document" if found.against == "document" else "the training text"
    return (
        f"{counted(len(found.documents), 'document')}, {counted(len(found.passages), unit)}. High is surprising: by "
        f"how many standard deviations a {unit} fits worse than shuffled ones of {whose} do. By {found.used}"
    )


def study_tables(found: "FolderStudy", unit: str) -> list[Table]:
    """Return every unit with its numbers, the hundred most surprising passages, and a line for each document."""
    every = [
        (
            one.place,
            one.document,
            one.position,
            one.surprise,
            one.out_of_place,
            int(one.begins_topic),
            one.repeats,
            one.text,
        )
        for one in found.passages
    ]
    heads = ("place", "document", "position", "surprise", "out of place", "begins a topic", "repeats", unit)
    passages = [(one.surprise, one.place, one.before, one.text) for one in found.ranked()[:100]]
    documents = [(one.document, one.units, one.topics, one.repeats, one.mean, one.highest) for one in found.documents]
    return [
        Table("All", heads, every),
        Table("Most surprising passages", ("surprise", "place", "after", unit), passages),
        Table("Documents", ("document", f"{unit}s", "topics", "repeats", "mean surprise", "highest"), documents),
    ]
