"""The methods of a model that tell about a document, and what was measured about them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.evaluation.document.choice import Choice, Choices
from lang_jepa.files import fingerprint

if TYPE_CHECKING:
    from lang_jepa.concepts.document import Continuation, Fits, Placed, Repetition, Topics


def _weights(card: dict[str, Any]) -> str:
    """What the choices were measured with: every file of the model but its decoder, which has no part in them."""
    hashes = card["sha256"].items()
    return fingerprint({name: digest for name, digest in hashes if not name.startswith("decoder")})


class DocumentTools:
    """A part of `ConceptModel`; the work is in `lang_jepa.concepts.document`.

    Attributes:
        choices: what the tools use, as measured by the evaluation task `document` (empty: not measured).
    """

    choices: dict[str, Choice]
    folder: Path | None
    card: dict[str, Any]

    def choose(self, tools: dict[str, Choice]) -> None:
        """Keep what the document tools should use, in the model directory that this model was loaded from too."""
        self.choices = dict(tools)
        if self.folder is not None:
            Choices(self.choices, _weights(self.card)).save(self.folder)

    def load_choices(self) -> None:
        """Take what was kept in the model directory, if anything was."""
        if self.folder is not None:
            kept = Choices.load(self.folder, model=_weights(self.card))
            self.choices = kept.tools if kept else {}

    def surprise(self: Any, text: str | Sequence[str], **options: Any) -> "Fits":
        """How far each sentence lies from what those before it let expect; see `lang_jepa.concepts.document`."""
        from lang_jepa.concepts.document import surprise

        return surprise(self, text, **options)

    def outliers(self: Any, text: str | Sequence[str], **options: Any) -> "list[Placed]":
        """Sentences by how little they fit between their neighbours, the least fitting first."""
        from lang_jepa.concepts.document import outliers

        return outliers(self, text, **options).ranked()

    def segment(self: Any, text: str | Sequence[str], **options: Any) -> "Topics":
        """Where the topic changes."""
        from lang_jepa.concepts.document import segment

        return segment(self, text, **options)

    def next(
        self: Any, context: str | Sequence[str], candidates: Sequence[str], **options: Any
    ) -> "list[Continuation]":
        """Candidates by how well they fit as the next sentence, best first."""
        from lang_jepa.concepts.document import continuations

        return continuations(self, context, candidates, **options)[0]

    def redundant(self: Any, text: str | Sequence[str], **options: Any) -> "list[Repetition]":
        """Sentences that repeat an earlier one, the clearest first."""
        from lang_jepa.concepts.document import redundant

        found = [one for one in redundant(self, text, **options) if one.repeats]
        return sorted(found, key=lambda one: -one.cosine)
