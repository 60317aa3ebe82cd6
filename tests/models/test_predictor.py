"""Predictors against plain formulas: one softmax over each window, and a causal transformer with a limited view."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.models.context import Context
from lang_jepa.models.predictors.concept_transformer import ConceptTransformer, PassageTransformer
from lang_jepa.models.predictors.predictor import (
    PREDICTORS,
    AttentionQuery,
    Horizons,
    build_predictor,
)
from lang_jepa.settings.encoder import ModelSettings

DIM, HEADS = 12, 3
PAIRS = Context(
    states=torch.randn(9, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    segments=torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2]),
    windows=torch.tensor([[0], [1], [2]]),
    passages=torch.tensor([1, 1, 1]),
)
OVERLAPPING = Context(
    states=torch.randn(11, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    segments=torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 5]),
    windows=torch.tensor([[-1, -1, 0], [-1, 0, 1], [0, 1, 2], [1, 2, 3], [-1, -1, 4], [-1, 4, 5]]),
    passages=torch.tensor([4, 2]),
)


def attention_query(seed: int = 0) -> AttentionQuery:
    torch.manual_seed(seed)
    return AttentionQuery(DIM, HEADS).double()


def naive(model: AttentionQuery, context: Context) -> Tensor:
    """Softmax attention of the learnt query over the states of each window, one prediction and head at a time."""
    rows = []
    for window in context.windows.tolist():
        mine = torch.tensor([segment in window for segment in context.segments.tolist()])
        states = context.states[mine]
        keys, values = model.key(states), model.value(states)
        parts = []
        for head in range(HEADS):
            part = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
            scores = keys[:, part] @ model.query[head] / (DIM / HEADS) ** 0.5
            parts.append(scores.softmax(0) @ values[:, part])
        rows.append(torch.cat(parts))
    return model.output(model.norm(torch.stack(rows)))


def with_states(context: Context, states: Tensor, **changes: Any) -> Context:
    values = {"segments": context.segments, "windows": context.windows, "passages": context.passages}
    return Context(states=states, **(values | changes))


@pytest.mark.parametrize("context", [PAIRS, OVERLAPPING])
def test_attention_query_is_softmax_attention(context: Context) -> None:
    """Values and the gradients of states and weights. The module sums in fp32."""
    model = attention_query()
    gradients = []
    outputs = []
    for function in (model, lambda x: naive(model, x)):
        states = context.states.clone().requires_grad_()
        output = function(with_states(context, states))
        weights = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        gradients.append(torch.autograd.grad((output * weights).sum(), [states, *model.parameters()]))
        outputs.append(output)
    torch.testing.assert_close(outputs[0], outputs[1], atol=2e-6, rtol=1e-5)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients[0][:2])


def test_no_prediction_reads_beyond_its_window() -> None:
    model = attention_query()
    states = OVERLAPPING.states.clone().requires_grad_()
    output = model(with_states(OVERLAPPING, states))
    for question, window in enumerate(OVERLAPPING.windows.tolist()):
        (gradient,) = torch.autograd.grad(output[question].square().sum(), states, retain_graph=True)
        read = {segment for segment in window if segment >= 0}
        assert set(OVERLAPPING.segments[gradient.abs().sum(1) > 0].tolist()) == read


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_large_score_differences_are_stable(size: float) -> None:
    """The exponentials of no segment overflow, and a segment with far smaller scores counts for nothing."""
    model = attention_query()
    scores = model.key.weight.detach()[: DIM // HEADS].T @ model.query.detach()[0]
    states = OVERLAPPING.states.clone()
    states[3:6] += size * scores / scores.norm() ** 2  # segment 2 outweighs all others in the first head
    states.requires_grad_()
    context = with_states(OVERLAPPING, states)
    output = model(context)
    torch.testing.assert_close(output, naive(model, context), atol=1e-4, rtol=1e-3)
    (gradient,) = torch.autograd.grad(output.square().sum(), states)
    assert torch.isfinite(output).all()
    assert torch.isfinite(gradient).all()


def test_the_gradient_is_that_of_finite_differences() -> None:
    model = attention_query()
    direction = torch.randn(DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(shift: float) -> Tensor:
        moved = OVERLAPPING.states.clone()
        moved[4] += shift * direction
        return model(with_states(OVERLAPPING, moved))[2].sum()

    states = OVERLAPPING.states.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(with_states(OVERLAPPING, states))[2].sum(), states)
    slope = (loss(0.01) - loss(-0.01)).detach() / 0.02
    assert abs(float(slope - gradient[4] @ direction)) < 2e-3 * max(1.0, abs(float(slope)))


def concepts(lengths: list[int], *, seed: int = 2, window: int = 3, vectors: Tensor | None = None) -> Context:
    """One vector per sentence; every sentence is asked for the next one."""
    total = sum(lengths)
    if vectors is None:
        vectors = torch.randn(total, DIM, generator=torch.Generator().manual_seed(seed))
    windows = []
    for first, length in zip(torch.tensor([0, *lengths]).cumsum(0).tolist(), lengths, strict=False):
        for place in range(length):
            seen = list(range(first + max(0, place + 1 - window), first + place + 1))
            windows.append([-1] * (window - len(seen)) + seen)
    return Context(vectors, torch.arange(total), torch.tensor(windows), torch.tensor(lengths))


def transformer(layers: int = 1, window: int = 3) -> ConceptTransformer:
    torch.manual_seed(0)
    model = ConceptTransformer(DIM, layers, HEADS, window).eval()
    with torch.no_grad():  # as after some training: distances matter and residuals are not small
        for block in model.blocks:
            block.distance_bias.normal_()
            block.attention_output.weight.mul_(5)
    return model


def plain_transformer(model: ConceptTransformer, vectors: Tensor, window: int) -> Tensor:
    """One passage, one layer, one place and one head at a time."""
    (block,) = model.blocks
    x = model.norm_input(vectors)
    query, key, value = block.qkv(block.norm_attention(x)).split(DIM, dim=-1)
    width = DIM // HEADS
    rows = []
    for place in range(len(x)):
        parts = []
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            seen = list(range(max(0, place - window + 1), place + 1))
            scores = torch.stack(
                [
                    query[place, part] @ key[other, part] / width**0.5 + block.distance_bias[head, place - other]
                    for other in seen
                ]
            )
            parts.append(scores.softmax(0) @ value[seen, part])
        rows.append(torch.cat(parts))
    x = x + block.attention_output(torch.stack(rows))
    x = x + block.contract(functional.gelu(block.expand(block.norm_mlp(x))))
    return model.output(model.norm(x))


def test_concept_transformer_equals_plain_attention() -> None:
    model, context = transformer(), concepts([7])
    torch.testing.assert_close(model(context), plain_transformer(model, context.states, 3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("layers", "reach"), [(1, 3), (2, 5)])
def test_a_place_reads_its_window_and_nothing_later(layers: int, reach: int) -> None:
    """With one layer exactly the window; every further layer adds a window less one."""
    model, length = transformer(layers), 9
    for place in range(length):
        vectors = torch.randn(length, DIM, generator=torch.Generator().manual_seed(4), requires_grad=True)
        output = model(concepts([length], vectors=vectors))
        (gradient,) = torch.autograd.grad(output[place].square().sum(), vectors)
        read = (gradient.abs().sum(1) > 0).nonzero().flatten().tolist()
        assert read == list(range(max(0, place - reach + 1), place + 1))


@pytest.mark.parametrize("layers", [1, 2])
def test_passages_together_and_alone(layers: int) -> None:
    """What else is in the batch, and how long it is, changes nothing."""
    model = transformer(layers)
    lengths = [4, 1, 6, 2]
    context = concepts(lengths)
    together = model(context).split(lengths)
    for vectors, length, expected in zip(context.states.split(lengths), lengths, together, strict=True):
        torch.testing.assert_close(model(concepts([length], vectors=vectors)), expected, atol=1e-6, rtol=1e-5)


def test_a_window_given_alone_predicts_as_inside_its_passage() -> None:
    """Training in passages and asking with a window at inference agree (one layer)."""
    model, context = transformer(), concepts([8])
    inside = model(context)
    for place in range(2, 8):
        alone = model(concepts([3], vectors=context.states[place - 2 : place + 1]))
        torch.testing.assert_close(alone[-1], inside[place], atol=1e-6, rtol=1e-5)


def test_distances_matter() -> None:
    """Without the learnt bias the order of the earlier sentences would not be seen."""
    model, context = transformer(), concepts([3])
    swapped = concepts([3], vectors=context.states[[1, 0, 2]])
    assert not torch.allclose(model(context)[2], model(swapped)[2], atol=1e-3)
    with torch.no_grad():
        model.blocks[0].distance_bias.zero_()
    torch.testing.assert_close(model(context)[2], model(swapped)[2])


def test_only_the_asked_places_are_returned_in_the_asked_order() -> None:
    model, context = transformer(), concepts([4, 3])
    asked = Context(context.states, context.segments, context.windows[[6, 3]], context.passages)
    torch.testing.assert_close(model(asked), model(context)[[6, 3]])


def test_concept_transformer_wants_one_vector_per_sentence() -> None:
    with pytest.raises(ValueError, match="one vector per segment"):
        transformer()(with_states(OVERLAPPING, OVERLAPPING.states.float()))


# What begins at zero gets its gradient later: tests/models/test_neighbours.py, test_recency.py and test_turns.py.
LATER = {
    "neighbour_attention",
    "neighbour_gates",
    "neighbour_weights",
    "recency_transformer",
    "ridge_transformer",
    "turn_transformer",
}


@pytest.mark.parametrize("name", sorted(PREDICTORS.keys() - LATER))
def test_predictors_by_name(name: str) -> None:
    """Every one gives a prediction for each window, and every weight gets a gradient."""
    torch.manual_seed(0)
    settings = ModelSettings(
        embed_dim=DIM, pred_dim=DIM, predictor=name, predictor_heads=HEADS, predictor_layers=2, dropout=0.0
    )
    model = build_predictor(settings, window=3)
    context = concepts([5, 2])
    context.states.requires_grad_()
    output = model(context)
    assert output.shape == (7, DIM)
    output.square().sum().backward()
    silent = [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0]
    assert silent == []
    assert {type(part).__name__ for part in model.modules() if isinstance(part, nn.Dropout)} <= {"Dropout"}


@pytest.mark.parametrize("name", ["attention_query", "concept_transformer", "mask_mlp", "transformer"])
def test_dropout_applies_in_training_only(name: str) -> None:
    settings = ModelSettings(embed_dim=DIM, pred_dim=DIM, predictor=name, predictor_heads=HEADS, dropout=0.5)
    model, context = build_predictor(settings, window=3), concepts([5, 2])
    assert not torch.equal(model(context), model(context))
    model.eval()
    assert torch.equal(model(context), model(context))


def test_simple_predictors_read_the_asked_segment() -> None:
    torch.manual_seed(0)
    context = concepts([5, 2])
    context = with_states(context, context.states, windows=torch.tensor([[0, 3]]).expand(7, -1))
    asked = context.states[3].expand(7, -1)
    made = {
        name: build_predictor(
            ModelSettings(embed_dim=DIM, pred_dim=DIM, predictor=name, predictor_heads=HEADS), window=3
        ).eval()
        for name in ("identity", "linear", "mask_mlp")
    }
    assert torch.equal(made["identity"](context), asked)
    linear = made["linear"](context)
    torch.testing.assert_close(linear.var(1, correction=0), torch.ones(7), atol=1e-3, rtol=0)
    flat = made["linear"].linear(asked)
    torch.testing.assert_close(linear, functional.layer_norm(flat, (DIM,)))
    one = made["mask_mlp"]
    torch.testing.assert_close(
        one(context), one.contract(functional.gelu(one.expand(functional.layer_norm(asked, (DIM,)))))
    )
    for model in made.values():
        with pytest.raises(ValueError, match="one vector per segment"):
            model(with_states(OVERLAPPING, OVERLAPPING.states.float()))


def passage_transformer(window: int = 9) -> PassageTransformer:
    torch.manual_seed(2)
    model = PassageTransformer(DIM, 2, HEADS, window).eval()
    with torch.no_grad():
        for block in model.blocks:
            block.distance_bias.normal_()
    return model


def test_a_hidden_sentence_sees_both_sides_of_its_passage_and_no_other() -> None:
    """A short passage beside a long one is answered as alone: the places that fill it up are not read."""
    model, context = passage_transformer(), concepts([6, 2])
    states = context.states.clone().requires_grad_()
    output = model(with_states(context, states))
    (gradient,) = torch.autograd.grad(output[2].square().sum(), states, retain_graph=True)
    assert (gradient.abs().sum(1) > 0).tolist() == [True] * 6 + [False] * 2
    torch.testing.assert_close(model(concepts([2], vectors=context.states[6:])), output[6:])
    torch.testing.assert_close(model(concepts([6], vectors=context.states[:6])), output[:6])


def test_before_and_after_differ() -> None:
    model, context = passage_transformer(), concepts([3])
    mirrored = concepts([3], vectors=context.states.flip(0))
    assert not torch.allclose(model(context)[1], model(mirrored)[1], atol=1e-3)
    with torch.no_grad():
        for block in model.blocks:
            block.distance_bias.copy_(block.distance_bias.flip(-1) + block.distance_bias)
    torch.testing.assert_close(model(context)[1], model(mirrored)[1])


@torch.no_grad()
def test_horizons_say_how_far_ahead_to_predict() -> None:
    torch.manual_seed(0)
    settings = ModelSettings(embed_dim=DIM, pred_dim=DIM, predictor="concept_transformer", predictor_heads=HEADS)
    model, context = build_predictor(settings, window=3, horizons=3).eval(), concepts([4])
    assert isinstance(model, Horizons)
    near = model(context)
    predicted = [model(with_states(context, context.states, horizons=torch.full((4,), ahead))) for ahead in range(3)]
    assert torch.equal(near, predicted[0])
    base = model.predictor(context)
    shifts = [made - base for made in predicted]
    assert min(float((a - b).abs().max()) for a, b in pairwise(predicted)) > 1e-2
    # More than a constant for each horizon: the same step further depends on the context.
    assert float(((shifts[1] - shifts[0]) - (shifts[1] - shifts[0])[:1]).abs().max()) > 1e-3
