"""The training step's loss: without spans it is the plain GPT's, in its numbers and graph for graph."""

import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn import functional

from lang_jepa.data.tokens.token_stream import draw_spans
from lang_jepa.models.gpt import GPT
from lang_jepa.objectives.gpt_losses import NextTokenLoss, span_loss
from lang_jepa.settings.gpt import GPTModelSettings, SpanSettings

SIZES = GPTModelSettings(num_layers=2, model_dim=16, num_heads=2, num_kv_heads=1)


def gpt() -> GPT:
    torch.manual_seed(0)
    model = GPT(SIZES, vocab_size=30, seq_len=12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def batch(seed: int = 0) -> Tensor:
    return torch.randint(30, (4, 13), generator=torch.Generator().manual_seed(seed))


def places(step: int, rows: Tensor) -> Tensor:
    tokens, numbers = rows[:, :-1].numpy(), torch.arange(4).numpy() + 4 * step
    options = {"form": "partition", "spans": 1, "max_frac": 0.5, "bos_id": 1, "seed": 0}
    return torch.from_numpy(draw_spans(tokens, numbers, **options))


def plain_loss(model: GPT, rows: Tensor) -> Tensor:
    """What a GPT without any of this minimises."""
    return functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


def gradients(model: GPT) -> Tensor:
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


def test_without_spans_loss_and_gradients_are_the_plain_ones() -> None:
    plain, ours, rows = gpt(), NextTokenLoss(gpt(), SpanSettings(weight=0.0)), batch()
    expected = plain_loss(plain, rows)
    expected.backward()
    losses = ours(rows)
    losses.total.backward()
    torch.testing.assert_close(losses.total, expected, rtol=1e-6, atol=0)
    assert losses.span is None
    torch.testing.assert_close(gradients(ours.model), gradients(plain), rtol=1e-5, atol=1e-7)


def test_with_spans_it_is_the_weighted_sum() -> None:
    rows, weight = batch(), torch.tensor(0.3)
    for layer in (-1, 0):
        ours = NextTokenLoss(gpt(), SpanSettings(layer=layer))
        losses = ours(rows, positions=places(0, rows), weight=weight)
        losses.total.backward()
        model = gpt()
        tapped = model.states(rows[:, :-1], tap=layer).tapped
        expected = plain_loss(model, rows) + 0.3 * span_loss(tapped, places(0, rows), "partition")
        expected.backward()
        torch.testing.assert_close(losses.total, expected)
        torch.testing.assert_close(losses.cross_entropy + 0.3 * losses.span, losses.total)
        torch.testing.assert_close(gradients(ours.model), gradients(model))


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def test_one_more_graph_and_no_other_in_200_steps() -> None:
    """A run that starts the span loss half-way, with a weight and places that differ at every step."""
    torch._dynamo.reset()
    counters.clear()
    plain = gpt()
    compiled = torch.compile(plain_loss, backend="eager", dynamic=False, fullgraph=True)
    for step in range(5):
        compiled(plain, batch(step)).backward()
    assert graphs() == 1, "the plain GPT"

    torch._dynamo.reset()
    counters.clear()
    ours = NextTokenLoss(gpt(), SpanSettings())
    ours.compile(backend="eager", dynamic=False, fullgraph=True)
    for step in range(20):
        ours(batch(step)).total.backward()
    assert graphs() == 1, "weight 0: as many graphs as the plain GPT"
    for step in range(20, 220):
        rows = batch(step)
        ours(rows, positions=places(step, rows), weight=torch.tensor(step / 1000)).total.backward()
    assert graphs() == 2, "one more for the span loss, compiled once"
    for step in range(220, 225):
        ours(batch(step)).total.backward()
    assert graphs() == 2, "the last stretch of pure cross-entropy has its graph already"
    torch._dynamo.reset()
