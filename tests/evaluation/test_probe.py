"""The linear probe: equality with a plain fit, choice on dev, baselines."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks.public import fit_probe, probe_rows
from lang_jepa.evaluation.tasks.public_data import Labelled, TaskData


def data(noise: float = 1.0) -> tuple[TaskData, dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    splits, vectors = {}, {}
    for split, count in (("train", 300), ("dev", 100), ("test", 200)):
        labels = generator.integers(0, 2, count)
        part = Labelled(split, [f"{split} {i} word{i % 9}" for i in range(count)], labels.tolist())  # type: ignore[arg-type]
        splits[split] = part
        for sentence, label in zip(part.sentences, labels, strict=True):
            vector = noise * generator.standard_normal(6)
            vector[2] += 3 * label
            vectors[sentence] = vector.astype(np.float32)
    return TaskData(splits, "here"), vectors


def test_rows_equal_a_plain_sklearn_fit(encoding: type) -> None:
    task, vectors = data()
    rows = probe_rows({"model": encoding(lambda s: vectors[s], 6)}, task)
    row = next(r for r in rows if (r.name, r.split) == ("model", "test"))
    c = float(row.note.split("C = ")[1].split()[0])
    x = {split: np.stack([vectors[s] for s in part.sentences]) for split, part in task.splits.items()}
    mean, std = x["train"].mean(0), x["train"].std(0)
    plain = LogisticRegression(C=c, max_iter=1000).fit((x["train"] - mean) / std, task.splits["train"].labels)
    assert row.value == pytest.approx(plain.score((x["test"] - mean) / std, task.splits["test"].labels), abs=0.006)
    assert row.value > 0.85
    assert row.low <= row.value <= row.high
    assert {r.name for r in rows} == {"model", "TF-IDF", "majority class"}
    majority = next(r for r in rows if (r.name, r.split) == ("majority class", "test"))
    most = np.bincount(task.splits["train"].labels).argmax()
    assert majority.value == np.mean(np.array(task.splits["test"].labels) == most)


def test_c_is_chosen_on_dev_and_never_on_test() -> None:
    task, vectors = data(noise=3.0)
    x = {split: np.stack([vectors[s] for s in part.sentences]) for split, part in task.splits.items()}
    flipped = {
        **task.splits,
        "test": Labelled("test", task.splits["test"].sentences, [1 - y for y in task.splits["test"].labels]),
    }
    grid = (1e-6, 1e-3, 1.0)
    assert fit_probe(x, task.splits, grid)[1] == fit_probe(x, flipped, grid)[1]
    accuracy = {c: fit_probe(x, task.splits, (c,))[0]["dev"].mean() for c in grid}
    assert accuracy[fit_probe(x, task.splits, grid)[1]] == max(accuracy.values())


def test_a_constant_embedding_gets_the_majority(encoding: type) -> None:
    task, _ = data()
    rows = {
        (r.name, r.split): r.value for r in probe_rows({"model": encoding(lambda _: np.ones(3, np.float32), 3)}, task)
    }
    assert rows["model", "test"] == rows["majority class", "test"]


def test_a_smaller_training_set_is_said_and_hidden_test_labels_too(encoding: type) -> None:
    task, vectors = data()
    del task.splits["test"]
    rows = probe_rows({"model": encoding(lambda s: vectors[s], 6)}, task, train_sentences=50)
    assert {r.split for r in rows} == {"dev"}
    assert "50 training sentences" in rows[0].note
    assert "no test labels" in rows[0].note


def test_one_class_is_refused(encoding: type) -> None:
    task, vectors = data()
    task.splits["train"].labels[:] = [1] * 300
    with pytest.raises(LangJepaError, match="two classes"):
        probe_rows({"model": encoding(lambda s: vectors[s], 6)}, task)
