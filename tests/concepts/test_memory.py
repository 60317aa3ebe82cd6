"""What an evaluation remembers: the same vectors, each sentence read once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from lang_jepa.concepts.directory import build_jepa
from lang_jepa.concepts.memory import VectorMemory
from lang_jepa.concepts.model import ConceptModel
from lang_jepa.data.prepare import prepare
from tiny import MODES, tiny_settings

A, B, C = "The cat sat on the mat.", "Anna went home.", "It rained all day, and then it snowed for a week."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConceptModel:
    settings = tiny_settings(tmp_path_factory.mktemp("run"), *MODES["concepts"])
    tokenizer = prepare(settings.data).tokenizer
    torch.manual_seed(3)
    return ConceptModel(build_jepa(settings, tokenizer), tokenizer, None, settings)


@contextmanager
def counted(model: ConceptModel) -> Iterator[list[int]]:
    """Numbers of sentences that its encoder was given, one for each pass."""
    passes: list[int] = []
    original = model.jepa.encoder.embed
    model.jepa.encoder.embed = lambda sequences: (passes.append(len(sequences)), original(sequences))[1]  # type: ignore[method-assign]
    try:
        yield passes
    finally:
        del model.jepa.encoder.embed


def test_each_sentence_is_read_once_and_gets_the_same_vector(model: ConceptModel) -> None:
    apart = model.encode([A, B, A, C]), model.predict_next([[A, B], [B, C]])
    with counted(model) as passes:
        with model.remembering():
            together = model.encode([A, B, A]), model.predict_next([[A, B], [B, C]]), model.encode([C, A])
        assert sum(passes) == 3
        np.testing.assert_allclose(together[0], apart[0][:3], atol=1e-6)
        np.testing.assert_allclose(together[1], apart[1], atol=1e-6)
        np.testing.assert_allclose(together[2], apart[0][[3, 0]], atol=1e-6)
        model.encode([A])
    assert sum(passes) == 4  # nothing outlives it


def test_a_memory_can_be_shared_by_equal_encoders(model: ConceptModel) -> None:
    memory = VectorMemory()
    with counted(model) as passes:
        for _ in range(2):
            with model.remembering(memory):
                model.encode([A, B])
    assert sum(passes) == 2


def test_it_stops_at_its_limit_and_goes_on_answering() -> None:
    tokens = [np.array([i, 7]) for i in range(6)]
    calls: list[int] = []

    def make(some: list[np.ndarray]) -> torch.Tensor:
        calls.append(len(some))
        return torch.tensor([[float(ids[0]), 1.0] for ids in some])

    memory = VectorMemory(limit=4 * 8)
    expected = torch.tensor([[float(i), 1.0] for i in range(6)])
    for _ in range(2):
        torch.testing.assert_close(memory.take(tokens, make), expected)
    assert calls == [6, 2]
    assert memory.used == 32


def test_an_evaluation_encodes_no_sentence_twice(tmp_path: Path) -> None:
    """Over a frozen encoder the trained model and its start even share their vectors."""
    from lang_jepa.report.card import evaluate_run
    from lang_jepa.training.train import train

    frozen = (
        "model.freeze_encoder=true",
        "objective.target=frozen",
        "objective.regularizer=none",
        "optimization.max_steps=2",
        "data.limit=60",
    )
    run = train(tiny_settings(tmp_path / "run", *MODES["concepts"], *frozen)).folder
    taken: list[bytes] = []
    original = ConceptModel._states

    def states(self: ConceptModel, tokens: list[np.ndarray]) -> torch.Tensor:
        taken.extend(ids.astype(np.int64).tobytes() for ids in tokens)
        return original(self, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConceptModel, "_states", states)
        evaluate_run(run, tasks="retrieval", data_dir=None, output=None)
    assert len(taken) == len(set(taken)) > 20
