"""What `lang-jepa infer` reads and shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lang_jepa.cli.console import plain, warn
from lang_jepa.cli.options import standard_input
from lang_jepa.data.sources.text_files import chunks, filled_lines
from lang_jepa.errors import LangJepaError, one_line
from lang_jepa.inference.embedding import Vectors
from lang_jepa.inference.index.index import search_in
from lang_jepa.inference.model import ConceptModel


@dataclass(frozen=True, slots=True)
class Telling:
    """The options of decoding; see `lang_jepa.models.decoder.Generation`."""

    sample: bool
    temperature: float
    top_p: float
    top_k: int
    beams: int | None
    seed: int

    def decode(self, model: ConceptModel, vectors: Vectors) -> list[str]:
        """The sentence of each concept.

        Raises:
            LangJepaError: see `ConceptModel.decode`.
        """
        if self.sample:
            drawn = {
                "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k, "seed": self.seed,
            }  # fmt: skip
            return model.decode(vectors, "sample", **drawn)
        if self.beams is not None:
            return model.decode(vectors, "beam", beams=self.beams)
        return model.decode(vectors)


def show_concepts(
    model: ConceptModel, texts: Sequence[str], corpus: Path | None, *, top_k: int, telling: Telling | None
) -> None:
    """Each text with its concept's first numbers, what the decoder makes of it, and its neighbours in a corpus."""
    vectors = model.encode(texts)
    decoded = telling.decode(model, vectors) if telling else None
    found = search_in(corpus, model, vectors, top_k=top_k) if corpus else None
    if found:
        plain(f"neighbours by {model.similarity} cosine")
    if decoded and model.decoder_is_foreign:
        warn(
            "the decoder was trained on the concepts of another encoder (or of other weights of it), so what it "
            "decodes may be off"
        )
    for number, (one, vector) in enumerate(zip(texts, vectors, strict=True)):
        plain(one_line(one), style="bold")
        shown = " ".join(f"{value:+.3f}" for value in vector[:8])
        plain(f"  concept [{len(vector)}]: {shown} ...")
        if decoded:
            plain(f"  decoded: {one_line(decoded[number])}")
        for score, sentence in found[number] if found else []:
            plain(f"  {score:7.4f}  {one_line(sentence)}")


def show_continuations(model: ConceptModel, context: Sequence[str], steps: int, *, beams: int) -> None:
    """Imagined sentences, and under each the alternatives that fitted less."""
    if not context:
        raise LangJepaError("--continue needs at least one --context to go on from")
    for one in model.imagine(context, steps, beams=beams):
        plain(f"{one.agreement:7.4f}  {one_line(one.text)}")
        for agreement, text in one.alternatives[1:3]:
            plain(f"           {agreement:7.4f}  {one_line(text)}", style="dim")


def read_texts(given: list[str] | None, file: Path | None) -> list[str]:
    """Texts from the options, a file, or standard input."""
    if given:
        return given
    if file is not None:
        return filled_lines(chunks(file), str(file))
    return filled_lines(standard_input("nothing to encode", "--file"), "standard input")
