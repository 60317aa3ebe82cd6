"""What a tool should use, a predictor or its counterpart without one, and how that was found out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.tasks.document_contest import Contender, Contest
from lang_jepa.files.atomic import read_json, write_json

FORMAT = 1
FILE = "document.json"
"""Beside the weights in a model directory."""

Tool = Literal["next", "outliers", "segment", "redundant"]
TOOLS: tuple[Tool, ...] = get_args(Tool)
"""Tools of which the better way is measured. `surprise` does as `next` does."""


@dataclass(frozen=True)
class Choice:
    """The two ways of one tool.

    Attributes:
        metric: by which they were compared, on documents that choose only.
        lower: whether a low value is good.
        documents: how many documents chose.
        predictor: the best way with the predictor (None: the model has none).
        counterpart: the best way without.
    """

    metric: str
    lower: bool
    documents: int
    predictor: Contender | None
    counterpart: Contender

    @property
    def used(self) -> Contender:
        """The better one; without a difference, the one that needs no predictor."""
        if self.predictor is None:
            return self.counterpart
        lead = self.predictor.merit - self.counterpart.merit
        return self.predictor if (lead < 0 if self.lower else lead > 0) else self.counterpart

    def said(self) -> str:
        """The choice in words."""
        other = self.predictor if self.used is self.counterpart else self.counterpart
        beside = "no predictor" if other is None else f"{_named(other)} {other.merit:.3f}"
        where = counted(self.documents, "document")
        return f"{_named(self.used)}: {self.metric} {self.used.merit:.3f} on {where} ({beside})"


def _named(way: Contender) -> str:
    return f"{way.rule} [{way.similarity}]"


@dataclass(frozen=True)
class Choices:
    """The choices of all tools that were measured.

    Attributes:
        tools: by tool.
        model: fingerprint of the weights that they were measured with.
    """

    tools: dict[str, Choice] = field(default_factory=dict)
    model: str = ""

    def save(self, folder: Path) -> None:
        """Write into a model directory, atomically."""
        write_json(folder / FILE, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path, *, model: str) -> Self | None:
        """Read what `save` wrote; None where nothing was measured yet.

        Args:
            folder: a model directory.
            model: fingerprint of its weights.

        Raises:
            LangJepaError: damaged, of another format, or measured with other weights.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        found = read_json(path, what="choices of the document tools")
        try:
            if found["format"] != FORMAT:
                raise LangJepaError(
                    f"{path} has format {found['format']}, this version reads {FORMAT}; {_AGAIN}"
                )
            tools, measured = choices_from(found["tools"]), str(found["model"])
        except (KeyError, TypeError, AttributeError) as error:
            raise LangJepaError(f"{path} is damaged ({error!r}); {_AGAIN}") from error
        if measured != model:
            raise LangJepaError(f"{path} was measured with other weights than those beside it; {_AGAIN}")
        return cls(tools, measured)


_AGAIN = "delete it, or measure again: lang-jepa evaluate RUN --tasks document"


def choice_of(contest: Contest) -> Choice:
    """The best way with and the best without the predictor in a contest whose first metric judges."""
    counterpart = contest.winner(uses_predictor=False)
    assert counterpart is not None  # every contest has the rules that need an encoder only
    return Choice(
        metric=f"{contest.task}, {contest.metrics[0]}",
        lower=contest.lower,
        documents=len(np.unique(contest.clusters[contest.choosing])),
        predictor=contest.winner(uses_predictor=True),
        counterpart=counterpart,
    )


def choices_from(found: Mapping[str, Any]) -> dict[str, Choice]:
    """Choices from plain data, as a report or a file holds them."""
    return {tool: _choice(one) for tool, one in found.items()}


def _choice(found: Mapping[str, Any]) -> Choice:
    parts = {name: found[name] for name in ("metric", "lower", "documents")}
    ways = [
        None if found[name] is None else Contender(**found[name]) for name in ("predictor", "counterpart")
    ]
    if ways[1] is None:
        raise KeyError("counterpart")
    return Choice(**parts, predictor=ways[0], counterpart=ways[1])
