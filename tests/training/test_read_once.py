"""Targets that the contexts hold too are not encoded again, and nothing changes: values, gradients, ragged batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_view
from lang_jepa.data.views.batch import Targets
from lang_jepa.models.jepa import Jepa
from lang_jepa.training.start import start_model
from tiny import MODES, tiny_settings

SHARED = ("objective.target=shared", "objective.target_gradient=true", "objective.center_targets=false")


@pytest.mark.parametrize("more", [(), ("data.horizons=2",), ("data.window_size=3", "data.passage_size=4")])
def test_each_sentence_is_read_once_and_gives_the_same(more: tuple[str, ...], tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", *MODES["concepts"], *SHARED, "model.dropout=0", *more)
    corpus = prepare(settings.data)
    view = make_view(settings, corpus.train, corpus.tokenizer)
    jepa = start_model(settings, corpus.tokenizer, view)
    batch = view.batch(np.arange(5), 0)

    def gradients(known: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        jepa.zero_grad()
        targets = batch.targets if known else replace(batch.targets, known=None, missing=None)
        output = jepa(batch.contexts, targets)
        assert output.targets is not None
        (output.targets.pow(3).sum() + output.predictions.pow(2).sum()).backward()
        found = {name: part.grad.clone() for name, part in jepa.named_parameters() if part.grad is not None}
        return output.targets.detach(), found

    targets, found = gradients(known=True)
    again, plain = gradients(known=False)
    torch.testing.assert_close(targets, again, atol=1e-5, rtol=1e-4)
    assert found.keys() == plain.keys()
    for name, one in found.items():
        torch.testing.assert_close(one, plain[name], atol=1e-4 * float(plain[name].abs().max()) + 1e-7, rtol=1e-3)
    held = batch.targets.known
    assert held is not None
    missing = 0 if batch.targets.missing is None else len(batch.targets.missing)
    assert missing == int((held < 0).sum()) < len(held) / 2


def test_an_encoder_that_draws_reads_twice(tmp_path: Path) -> None:
    """With dropout both readings are views of their own."""
    settings = tiny_settings(tmp_path / "run", *MODES["concepts"], *SHARED, "model.dropout=0.3")
    corpus = prepare(settings.data)
    view = make_view(settings, corpus.train, corpus.tokenizer)
    jepa: Jepa = start_model(settings, corpus.tokenizer, view).train()
    batch = view.batch(np.arange(5), 0)
    output = jepa(batch.contexts, batch.targets)
    assert output.targets is not None
    held = batch.targets.known
    assert held is not None
    rows = held[batch.targets.picked]
    assert not torch.allclose(output.targets[rows >= 0], output.embeddings[rows[rows >= 0]], atol=1e-3)


def test_even_calls_make_as_many_passes_with_and_without_missing_targets(tmp_path: Path) -> None:
    """Processes that share out the weights gather them together; the pass that nobody needs changes nothing."""
    settings = tiny_settings(tmp_path / "run", *MODES["concepts"], *SHARED, "model.dropout=0")
    corpus = prepare(settings.data)
    jepa = start_model(settings, corpus.tokenizer, make_view(settings, corpus.train, corpus.tokenizer))
    batch = make_view(settings, corpus.train, corpus.tokenizer).batch(np.arange(5), 0)
    held = batch.targets.known
    assert held is not None
    assert batch.targets.missing is not None
    whole = replace(batch.targets, known=held.clamp(min=0), missing=None)
    passes: list[int] = []
    jepa.encoder.backbone.register_forward_hook(lambda *_: passes.append(1))

    def gradient(even: bool, targets: Targets) -> tuple[int, torch.Tensor]:
        jepa.even = even
        jepa.zero_grad()
        passes.clear()
        output = jepa(batch.contexts, targets)
        assert output.targets is not None
        output.targets.pow(3).sum().backward()
        found = [part.grad.flatten() for part in jepa.encoder.parameters() if part.grad is not None]
        return len(passes), torch.cat(found)

    assert gradient(True, batch.targets)[0] == 2
    (count, plain), (more, even) = gradient(False, whole), gradient(True, whole)
    assert (count, more) == (1, 2)
    torch.testing.assert_close(even, plain, rtol=0, atol=0)
