"""What can be said without a GPU of the paths that are made for one: compilation, and models on the meta device."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import encoder, sequences
from torch import Tensor
from torch._dynamo.utils import counters

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_view
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.training.start import start_model, start_target
from tiny import MODES, VIEWS, tiny_settings

FIRST = [[5, 1, 33], [7, 40, 7, 7], [2, 3, 19, 12, 8]]
LATER = [[11, 4], [20, 20, 3, 6, 9, 30], [17, 2, 2], [31, 8, 8, 8, 8, 8, 1, 1]]


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def gradients(model: TextEncoder, lengths: list[int]) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    embeddings = model(sequences(lengths))
    embeddings.square().sum().backward()
    return embeddings.detach(), [one.grad.clone() for one in model.parameters() if one.grad is not None]


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_encoder_is_the_same_and_stops_compiling() -> None:
    """Batches of ever new lengths need no new graph once a few were seen; the numbers are those of the eager model."""
    model = encoder(architecture="modernbert")
    expected = [gradients(model, lengths) for lengths in FIRST + LATER]
    model.backbone.compile(backend="eager")
    found = [gradients(model, lengths) for lengths in FIRST]
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    found += [gradients(model, lengths) for lengths in LATER]
    assert counters["stats"]["unique_graphs"] == graphs
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", [*MODES, *VIEWS])
def test_both_sides_make_nothing_on_another_device_and_wait_for_none(tmp_path: Path, name: str) -> None:
    """The meta device refuses tensors of the CPU in its products, and reading a number (which makes a GPU wait)."""
    settings = tiny_settings(tmp_path, *(MODES | VIEWS)[name])
    corpus = prepare(settings.data)
    view = make_view(settings, corpus.train, corpus.tokenizer)
    jepa = start_model(settings, corpus.tokenizer, view).to("meta")
    target = start_target(settings, jepa, corpus.tokenizer)
    target.encoder.to("meta")
    batch = view.batch(np.arange(6)).to("meta")
    output, targets = target.both_sides(jepa, batch)
    (output.predictions - targets).square().sum().backward()
    target.update(jepa.encoder, 0.9)
    assert output.predictions.is_meta
    assert all(one.is_meta for one in jepa.parameters())
