"""The built-in tasks on real generated stories, scored for embedders whose result is known."""

from collections.abc import Callable

import numpy as np
import pytest

from lang_jepa.evaluation.baselines.copying import WordRidge
from lang_jepa.evaluation.metrics.similarity import unit_rows
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.stories import CHOOSING_SEED, next_sentence_rows, paraphrase_rows
from lang_jepa.stories import generate, paraphrase_pairs

STORIES, WINDOW = 40, 20


def found(rows: list[Row], task: str, metric: str, name: str) -> float:
    values = [r.value for r in rows if (r.task, r.metric, r.name, r.chosen) == (task, metric, name, True)]
    assert len(values) == 1
    return values[0]


@pytest.fixture(scope="module")
def ridge() -> WordRidge:
    train = [[sentence.text for sentence in story.sentences] for story in generate(60, 0, "train")]
    return WordRidge(train, spans=(1,))


def score(models: dict, ridge: WordRidge, split: str = "heldout") -> list[Row]:  # type: ignore[type-arg]
    return next_sentence_rows(models, split, window_size=WINDOW, stories=STORIES, queries=400, ridge=ridge)[0]


def test_a_cheat_scores_one_and_the_others_lie_between_chance_and_the_oracle(cheat: Callable, ridge: WordRidge) -> None:
    stories = [*generate(STORIES, 0, "heldout"), *generate(STORIES // 3, CHOOSING_SEED, "heldout")]
    documents = [[s.text for s in story.sentences] for story in stories]
    rows = score({"model": cheat(documents, WINDOW)}, ridge)
    for metric in ("recall@1", "mrr", "right event"):
        assert found(rows, "stories: next sentence", metric, "model") == pytest.approx(1.0)
        regression, oracle, chance = (
            found(rows, "stories: next sentence", metric, name)
            for name in ("ridge on words, last 1", "oracle", "chance")
        )
        assert chance < regression < oracle < 1.0
    assert found(rows, "stories: same story", "recall@1", "model") == 1.0
    assert found(rows, "stories: same story", "recall@1", "oracle") > 0.85


def test_noise_scores_chance(hashed: object, ridge: WordRidge) -> None:
    rows = score({"model": hashed}, ridge, "unseen")
    n = next(r.n for r in rows if r.name == "model")
    for task in ("stories: next sentence", "stories: same story"):
        chance = found(rows, task, "recall@1", "chance")
        error = 4 * np.sqrt(chance * (1 - chance) / n)
        assert found(rows, task, "recall@1", "model") == pytest.approx(chance, abs=error)


def test_every_row_but_chance_has_an_interval_that_holds_it(hashed: object, ridge: WordRidge) -> None:
    for row in score({"model": hashed}, ridge):
        if row.name == "chance":
            assert row.low is None
        else:
            assert row.low is not None
            assert row.high is not None
            assert row.low - 1e-9 <= row.value <= row.high + 1e-9


def test_paraphrase_of_an_encoder_that_knows_the_grades(encoding: type) -> None:
    pairs = [*paraphrase_pairs(300, 0, "heldout"), *paraphrase_pairs(300, CHOOSING_SEED, "heldout")]
    generator = np.random.default_rng(0)
    vectors: dict[str, np.ndarray] = {}
    for pair in pairs:
        first = vectors.setdefault(pair.first, unit_rows(generator.standard_normal((1, 64)).astype(np.float32))[0])
        other = unit_rows(generator.standard_normal((1, 64)).astype(np.float32))[0]
        mixed = (pair.score / 5 * first + (1 - pair.score / 5) * other)[None]
        vectors.setdefault(pair.second, unit_rows(mixed)[0])
    rows, chosen = paraphrase_rows({"model": encoding(lambda s: vectors[s], 64)}, "heldout", pairs=300)
    task = "stories: paraphrase"
    assert chosen == {task: "raw"}
    # A sentence that occurs in several pairs cannot suit all of them, so a little is lost.
    assert found(rows, task, "Spearman", "model") > 0.9
    assert found(rows, task, "recall@1", "model") > 0.9
    assert 0 < found(rows, task, "Spearman", "TF-IDF") < 0.9
    assert found(rows, task, "recall@1", "chance") == pytest.approx(1 / 50, abs=0.002)


def test_paraphrase_of_noise(hashed: object) -> None:
    rows, _ = paraphrase_rows({"model": hashed}, "unseen", pairs=300)  # type: ignore[dict-item]
    assert abs(found(rows, "stories: paraphrase", "Spearman", "model")) < 0.2
