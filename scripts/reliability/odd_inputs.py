"""Odd inputs to the Python interface: each must be understood, or refused with one message that says where it is wrong.

    python scripts/reliability/odd_inputs.py

prints the inputs that are handled unclearly, and how many of all are clear. The model is tiny, with random weights.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.decoding import TextDecoder, build_decoder, encoder_fingerprint
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.inference.search import neighbours, rank_continuations
from lang_jepa.settings.load import load_decoder_settings, load_settings

DIM = 32
A, B = "Nora lost her keys.", "It rained all day."
TINY = (
    "data.limit=40",
    "data.vocab_size=400",
    "data.val_fraction=0.2",
    "data.prepare_workers=1",
    f"model.embed_dim={DIM}",
    f"model.pred_dim={DIM}",
    "model.num_heads=2",
    "model.predictor_heads=2",
    "model.head=none",
    "objective.center_targets=false",
)


@dataclass(frozen=True)
class Case:
    """An odd input.

    Attributes:
        name: of the input.
        call: passes it to the model.
        right: the expected shape or length of the result, or text that the refusal must contain.
    """

    name: str
    call: Callable[[ConceptModel], Any]
    right: tuple[int, ...] | str


def made(*texts: str) -> Iterator[str]:
    """Yield texts, as a generator."""
    yield from texts


def text_cases() -> Iterator[tuple[str, Any, str, bool]]:
    """Yield name, list of texts, what a refusal must say ("" if the list is valid), whether only for `encode`."""
    yield "a list", [A, B], "", False
    yield "a tuple", (A, B), "", False
    yield "a generator", made(A, B), "", False
    yield "a map", map(str.upper, [A, B]), "", False
    yield "keys of a table", {A: 1, B: 2}.keys(), "not a dict_keys", False
    yield "an array of strings", np.array([A, B]), "", False
    yield "an array of objects", np.array([A, B], dtype=object), "", False
    yield "a column with an odd index", pd.Series([A, B], index=[7, -3]), "", False
    yield "a column with names as index", pd.Series([A, B], index=["x", "y"]), "", False
    yield "a column with a missing text", pd.Series([A, None]), "1 is not a string", False
    yield "a column of numbers", pd.Series([1, 2]), "0 is not a string (int", False
    yield "a table", pd.DataFrame({"text": [A, B]}), "a DataFrame of 2 dimensions", False
    yield "a tensor", torch.zeros(2), "0 is not a string", False
    yield "None among texts", [A, None], "1 is not a string (NoneType)", False
    yield "NaN among texts", [A, float("nan")], "1 is not a string (float nan)", False
    yield "missing value of a table", [A, pd.NA], "1 is not a string (NAType)", False
    yield "bytes among texts", [A, A.encode()], "1 is not a string (bytes, which must be decoded", False
    yield "a number among texts", [3, A], "0 is not a string (int)", False
    yield "a truth value among texts", [A, True], "1 is not a string (bool)", False
    yield "a path among texts", [A, Path("a.txt")], "1 is not a string", False
    yield "an empty text", [A, ""], "1 has no token", False
    yield "white space", [A, " "], "1 has no token", False
    yield "other white space", [A, "\n\t\u00a0\u2003"], "1 has no token", False
    yield "a lone surrogate", [A, "ab\ud800"], "1 has a lone surrogate ('\\ud800') at character 2", False
    yield "None itself", None, "not None", False
    yield "a number itself", 3, "not an int", False
    yield "NaN itself", float("nan"), "not a float", False
    yield "a set", {A, B}, "not a set", False
    yield "a dictionary", {"text": A}, "not a dict", False
    yield "bytes themselves", A.encode(), "not a bytes", False
    yield "an array of one text", np.array(A), "of 0 dimensions", False
    yield "a list in a list", [[A], [B]], "0 is not a string (list)", True
    yield "an array of two dimensions", np.array([[A], [B]]), "2 dimensions", True


def cases() -> list[Case]:
    """Return all cases."""
    found = []
    for name, texts, said, alone in text_cases():
        found.append(Case(f"encode: {name}", lambda m, t=texts: m.encode(t), said or (2, DIM)))
        if not alone and not isinstance(texts, Iterator):
            found.append(Case(f"predict_next: {name}", lambda m, t=texts: m.predict_next(t), said or (DIM,)))
            found.append(Case(f"rank: {name}", lambda m, t=texts: rank_continuations(m, [A], t), said or (2,)))
    vectors = np.eye(DIM, dtype=np.float32)[:2]
    broken = vectors.copy()
    broken[1, 3] = np.nan
    found += [
        Case("encode: a single text", lambda m: m.encode(A), (DIM,)),
        Case("encode: a single text of white space", lambda m: m.encode(" "), "has no token"),
        Case("encode: nothing", lambda m: m.encode([]), (0, DIM)),
        Case("encode: an emoji and an accent", lambda m: m.encode(["\U0001f600 e\u0301"]), (1, DIM)),
        Case("encode: a very long text", lambda m: m.encode([A * 2000]), (1, DIM)),
        Case("encode: a null character", lambda m: m.encode(["a\x00b"]), (1, DIM)),
        Case("encode: a string of numpy", lambda m: m.encode([np.str_(A)]), (1, DIM)),
        *(
            Case(
                f"encode: nothing visible ({text!a})",
                lambda m, t=text: m.encode([A, t]),
                "text 1 has no token",
            )
            for text in ("\u200b", "\ufeff", "\xad", "\x00", "\xa0")
        ),
        Case("encode: a batch of no tokens", lambda m: m.encode([A], batch_tokens=0), "batch_tokens"),
        Case("encode: a batch of None", lambda m: m.encode([A], batch_tokens=None), "batch_tokens"),
        Case(
            "encode_tokens: an id beyond",
            lambda m: m.encode_tokens([[5], [99999]]),
            "sentence 1 has a token id",
        ),
        Case("encode_tokens: a half", lambda m: m.encode_tokens([[1.5]]), "sentence 0 is not a list of token ids"),
        Case("encode_tokens: none", lambda m: m.encode_tokens([[]]), "sentence 0 is not a list of token ids"),
        Case("load: None", lambda m: ConceptModel.load(None), "not NoneType"),
        Case(
            "load: no such device",
            lambda m: ConceptModel.load("x", device="foo"),
            "device 'foo' cannot be used",
        ),
        Case("predict_next: a bare string", lambda m: m.predict_next(A), "list of sentences"),
        Case("predict_next: nothing", lambda m: m.predict_next([]), "at least one sentence"),
        Case("predict_next: a generator", lambda m: m.predict_next(made(A, B)), (DIM,)),
        Case("predict_next: generators", lambda m: m.predict_next(made(A, B) for _ in range(3)), (3, DIM)),
        Case("predict_next: an empty context", lambda m: m.predict_next([[A], []]), "context 1 is an empty"),
        Case("predict_next: a mixture", lambda m: m.predict_next([[A], B]), "mixes sentences and lists"),
        Case("predict_next: None as a context", lambda m: m.predict_next([[A], None]), "context 1 is not a list"),
        Case("predict_next: None inside", lambda m: m.predict_next([[A], [A, None]]), "context 1: sentence 1"),
        Case("predict_next: rows of an array", lambda m: m.predict_next(np.array([[A, B], [B, A]])), (2, DIM)),
        Case("decode: a list of lists", lambda m: m.decode(vectors.tolist()), (2,)),
        Case("decode: a tensor", lambda m: m.decode(torch.tensor(vectors, requires_grad=True)), (2,)),
        Case("decode: a table", lambda m: m.decode(pd.DataFrame(vectors, index=[5, 1])), (2,)),
        Case("decode: nothing", lambda m: m.decode(vectors[:0]), (0,)),
        Case("decode: None", lambda m: m.decode(None), "not None"),
        Case("decode: None among rows", lambda m: m.decode([vectors[0], None]), "(row 1)"),
        Case("decode: rows of two widths", lambda m: m.decode([vectors[0], [1.0]]), "(row 1)"),
        Case("decode: NaN", lambda m: m.decode(broken), "concept 1 has entries that are not finite"),
        Case("decode: infinity", lambda m: m.decode(vectors / 0.0), "concept 0 has entries"),
        Case("decode: too large for float32", lambda m: m.decode(vectors * 1e300), "concept 0 has entries"),
        Case("decode: a text", lambda m: m.decode(A), "as numbers"),
        Case("decode: texts", lambda m: m.decode([A, B]), "as numbers"),
        Case("decode: complex numbers", lambda m: m.decode(vectors * 1j), "as numbers"),
        Case("decode: one vector", lambda m: m.decode(vectors[0]), f"[n, {DIM}], not [{DIM}]"),
        Case("decode: three dimensions", lambda m: m.decode(vectors[None]), f"[n, {DIM}], not [1, 2, {DIM}]"),
        Case("decode: another width", lambda m: m.decode(vectors[:, :7]), f"[n, {DIM}], not [2, 7]"),
        Case("decode: an unknown method", lambda m: m.decode(vectors, "beams"), "unknown decoding method"),
        Case("decode: an unknown option", lambda m: m.decode(vectors, beam=3), "unknown option"),
        Case(
            "decode: words as a number",
            lambda m: m.decode(vectors, "sample", temperature="hot"),
            "temperature",
        ),
        Case("decode: NaN as a number", lambda m: m.decode(vectors, "sample", top_p=float("nan")), "top_p"),
        Case("decode: a half beam", lambda m: m.decode(vectors, "beam", beams=1.5), "beams"),
        Case("score_texts: too few texts", lambda m: m.score_texts(vectors, [A]), "one text for each"),
        Case("score_texts: None", lambda m: m.score_texts(vectors, [A, None]), "text 1 is not a string"),
        Case("rank: no candidates", lambda m: rank_continuations(m, [A], []), "at least one"),
        Case("rank: None as context", lambda m: rank_continuations(m, None, [A]), "not None"),
        Case("neighbours: nothing to search", lambda m: neighbours(m, vectors, [], top_k=1), "no sentences"),
        Case("imagine: NaN as a sentence", lambda m: m.imagine([float("nan")], 1), "sentence 0 is not a string"),
        Case("imagine: half a step", lambda m: m.imagine([A], 0.5), "at least one sentence to imagine"),
        Case("surprise: None", lambda m: m.surprise(None), "not None"),
        Case("surprise: bytes", lambda m: m.surprise(A.encode()), "not a bytes"),
        Case("surprise: NaN inside", lambda m: m.surprise([A, float("nan")]), "sentence 1 is not a string"),
        Case("segment: a lone surrogate", lambda m: m.segment("ab\udfff. Yes."), "lone surrogate"),
        Case("redundant: white space", lambda m: m.redundant([A, " "]), "sentence 1 has no token"),
        Case("next: a bare candidate", lambda m: m.next([A], B), "not a single string"),
    ]
    return found


def tiny_model(folder: Path) -> ConceptModel:
    """Build a model with random weights and a decoder, on a few stories."""
    settings = load_settings("concepts", [*TINY, f"data.corpus_dir={folder}"])
    corpus = prepare(settings.data)
    torch.manual_seed(0)
    jepa = build_jepa(settings, corpus.tokenizer).eval()
    small = ("decoder.hidden_dim=32", "decoder.num_heads=2", "decoder.num_layers=1", "decoder.max_length=8")
    about = load_decoder_settings("concept_decoder", small)
    network = build_decoder(about, concept_dim=DIM, tokenizer=corpus.tokenizer)
    decoder = TextDecoder(network, corpus.tokenizer, about, encoder=encoder_fingerprint(jepa.encoder))
    return ConceptModel(jepa, corpus.tokenizer, None, settings, decoder=decoder)


def trouble(case: Case, model: ConceptModel) -> str:
    """Return what is unclear about a case; empty if nothing is."""
    try:
        with np.errstate(all="ignore"):
            found = case.call(model)
    except LangJepaError as error:
        if isinstance(case.right, tuple):
            return f"refused: {error}"
        return "" if case.right in str(error) else f"says: {error}"
    except Exception as error:  # noqa: BLE001  (any other exception is a finding)
        return f"{type(error).__name__}: {error}"
    shape = np.shape(found) if isinstance(found, np.ndarray) else (len(found),)
    return "" if shape == case.right else f"gives {shape}, not {case.right}"


def main() -> int:
    """Print what is unclear, and the number of clear cases."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(Path(folder))
        troubles = {case.name: trouble(case, model) for case in cases()}
    for name, said in troubles.items():
        if said:
            print(f"{name}: {said}")
    print(f"odd inputs: {sum(not said for said in troubles.values())} of {len(troubles)} clear")
    return int(any(troubles.values()))


if __name__ == "__main__":
    sys.exit(main())
