"""Scores of decoding against their definitions, with a model whose words are known."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.intervals import mean_interval, ratio_interval
from lang_jepa.evaluation.metrics.similarity import Similarity, Statistics
from lang_jepa.evaluation.table import Report
from lang_jepa.evaluation.tasks import Request, evaluate
from lang_jepa.evaluation.tasks.decode import DECODED, FIRST, FORCED, bleu, decode_rows, event_rows, rouge_l
from lang_jepa.models.decoder import Scores
from lang_jepa.stories import generate

Floats = NDArray[np.float32]
DIM = 64


class Parrot:
    """Random unit vectors for sentences, and the sentence nearest to a vector as its text.

    It is sure of two thirds of the tokens when it is shown the text's own vector, and of none otherwise.
    """

    def __init__(self, following: dict[str, str]) -> None:
        self.dim, self.following = DIM, following
        self.statistics = Statistics.identity(DIM)
        self.known: dict[str, Floats] = {}
        self.similarity_kind: Similarity = "raw"

    def encode(self, sentences: Sequence[str]) -> Floats:
        for text in sentences:
            vector = np.random.default_rng(crc32(text.encode())).standard_normal(DIM)
            self.known.setdefault(text, (vector / np.linalg.norm(vector)).astype(np.float32))
        return np.array([self.known[text] for text in sentences])

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> Floats:
        return self.encode([self.following["|".join(context)] for context in contexts])

    def decode(self, z: Floats) -> list[str]:
        texts, table = list(self.known), np.array(list(self.known.values()))
        return [texts[int(best)] if one.any() else "" for one, best in zip(z, (z @ table.T).argmax(1), strict=True)]

    def score_texts(self, z: Floats, texts: Sequence[str]) -> Scores:
        own = (self.encode(texts) * z).sum(1) > 0.99
        tokens = np.array([3.0 * len(text.split()) for text in texts])
        return Scores(np.where(own, 0.5, 2.0) * tokens, np.where(own, 2 / 3, 0.0) * tokens, tokens)


@pytest.fixture(scope="module")
def documents() -> list[list[str]]:
    return [[sentence.text for sentence in story.sentences] for story in generate(12, 3, "heldout")]


def test_rows_and_controls(documents: list[list[str]]) -> None:
    train = [documents[0], ["Nothing alike."]]
    report = Report(decode_rows(Parrot({}), documents, train_documents=train, sentences=10_000))

    def value(metric: str, name: str) -> float:
        task = FORCED if metric in {"token accuracy", "perplexity", "bits per byte"} else DECODED
        return report.value(task, "validation", metric, name)

    assert value("exact match", "model") == 1.0
    assert value("BLEU", "model") == pytest.approx(100)
    assert value("concept cosine", "model") == pytest.approx(1.0)
    assert value("token accuracy", "model") == pytest.approx(2 / 3)
    assert value("perplexity", "model") == pytest.approx(np.exp(0.5))
    size = sum(len(text.encode()) for document in documents for text in document)
    tokens = sum(3 * len(text.split()) for document in documents for text in document)
    assert value("bits per byte", "model") == pytest.approx(0.5 / np.log(2) * tokens / size)
    assert value("token accuracy", "shuffled concept") < 0.05
    assert value("perplexity", "zero concept") == pytest.approx(np.exp(2.0))
    assert value("exact match", "zero concept") == value("ROUGE-L", "zero concept") == 0.0
    texts = [text for document in documents for text in document]
    found = sum(text in documents[0] for text in texts) / len(texts)
    assert value("exact match", "nearest training sentence") == pytest.approx(found)
    details = [row for row in report.rows if row.detail is not None]
    assert {row.name for row in details} == {"model"}
    assert all(row.low is not None and row.low <= row.value + 1e-9 for row in report.rows)


def test_bleu_is_that_of_the_corpus() -> None:
    texts = ["the cat sat on the mat today", "it rained all day", "Anna went home .", "no"]
    decoded = ["the cat sat on a mat today", "it rained all night", "Anna went home .", ""]
    value, (low, high) = bleu(decoded, texts, np.arange(4), seed=0)
    assert value == pytest.approx(BLEU().corpus_score(decoded, [texts]).score)
    assert low < value < high
    assert bleu(decoded, texts, np.array([0, 0, 1, 1]), seed=0)[0] == pytest.approx(value)


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    """Of 6 and 5 words, 4 in common in order: precision 4/5, recall 4/6."""
    found = rouge_l(["the cat on the sofa", ""], ["the cat sat on the mat", "it rained"])
    assert found == pytest.approx([2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6), 0.0])


@pytest.mark.parametrize(
    ("decoded", "text", "common", "words"),
    [
        ("Кошка сидит на диване.", "Кошка сидит на старом диване!", 4, (4, 5)),
        ("Η γάτα κοιμάται", "η ΓΆΤΑ δεν κοιμάται", 3, (3, 4)),
        ("बिल्ली सो रही है", "बिल्ली घर में सो रही है", 4, (4, 6)),
        ("القطة نائمة", "القطة ليست نائمة", 2, (2, 3)),
        ("猫在睡觉", "猫不在睡觉。", 4, (4, 5)),
        ("ねこがねる", "ねこはねる", 4, (5, 5)),
        ("고양이가 잔다", "고양이가 또 잔다", 2, (2, 3)),
        ("ไป", "ไม", 1, (2, 2)),
        ("don't stop 3 cats", "Don't stop the 3 CATS", 5, (5, 6)),
        ("\ufb01ne caf\u00e9", "fine cafe\u0301", 2, (2, 2)),
        ("...", "!?", 0, (1, 1)),
    ],
)
def test_rouge_l_in_any_script(decoded: str, text: str, common: int, words: tuple[int, int]) -> None:
    precision, recall = common / words[0], common / words[1]
    expected = 2 * precision * recall / (precision + recall) if common else 0.0
    assert rouge_l([decoded], [text]) == pytest.approx([expected])


def test_the_interval_of_a_ratio_is_that_of_its_parts() -> None:
    """Tokens as values of their own, in clusters of their sentence, or sentences as sums: the same resamples."""
    right, tokens = np.array([3.0, 1.0, 0.0, 4.0]), np.array([4.0, 2.0, 3.0, 4.0])
    clusters = np.array([0, 0, 1, 2])
    values = np.concatenate([np.arange(int(n)) < r for r, n in zip(right, tokens, strict=True)]).astype(float)
    single = mean_interval(values, np.repeat(clusters, tokens.astype(int)))
    assert ratio_interval(right, tokens, clusters) == pytest.approx(single)
    with pytest.raises(LangJepaError, match="differ in length"):
        ratio_interval([1.0], [1.0, 2.0])


def test_a_model_that_predicts_well_decodes_the_right_event() -> None:
    stories = list(generate(6, 0, "heldout"))
    following = {
        "|".join(s.text for s in story.sentences[:at]): story.sentences[at].text
        for story in stories
        for at in range(len(story.sentences))
    }
    report = Report(event_rows(Parrot(following), "heldout", stories=6, train_stories=3))
    task = ("stories: decoded event", "heldout", "right event")
    assert report.value(*task, "model") == 1.0
    assert report.value("stories: decoded event", "heldout", "no event", "model") == 0.0
    truth = [s.event for story in stories for s in story.sentences[FIRST::2]]
    shares = np.unique(truth, return_counts=True)[1] / len(truth)
    assert report.value(*task, "chance") == pytest.approx((shares**2).sum())
    assert report.value(*task, "most frequent event") == pytest.approx(shares.max())
    guesses = [max(o, key=o.__getitem__) for story in stories for o in story.oracle[FIRST::2]]
    oracle = np.mean([guess == event for guess, event in zip(guesses, truth, strict=True)])
    assert report.value(*task, "oracle") == pytest.approx(oracle)
    assert report.value(*task, "last sentence, decoded") < 0.5
    wrong = Parrot(dict.fromkeys(following, "It was no sentence of this world."))
    report = Report(event_rows(wrong, "heldout", stories=6, train_stories=3))
    assert report.value(*task, "model") == 0.0
    assert report.value("stories: decoded event", "heldout", "no event", "model") == 1.0


def test_the_task_needs_a_decoder_and_documents(documents: list[list[str]]) -> None:
    parrot = Parrot({})
    with pytest.raises(LangJepaError, match="train concept_decoder"):
        evaluate(Request(parrot, tasks=["decode"], documents=documents))
    with pytest.raises(LangJepaError, match="held-out documents"):
        evaluate(Request(parrot, tasks=["decode"], decoding=parrot))
    report = evaluate(Request(parrot, tasks=["decode"], decoding=parrot, documents=documents))
    assert "no evidence of learning" in report.sources["decode"]
