"""Run any transformers model that gives token states the way transformers does: padded, with an attention mask.

Slower than `packing.py`, since every layer also computes the padding, but independent of the architecture. Sequences
are sorted by length and cut into groups to keep padding small. Padding is on the right: positions count from the first
token, in causal models too.
"""

import inspect

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lang_jepa.data.views.batch import Sequences
from lang_jepa.errors import LangJepaError, first_line
from lang_jepa.models.architecture import token_embeddings
from lang_jepa.models.packing import Packing

GROUP = 8
"""Sequences in a group on a CPU: of 4, 8 and 16 the best for sentences, and as good as any for contexts."""
GROUP_ELSEWHERE = 64
"""Fewer and larger calls for a device that waits for each of them. Not measured."""
EXACT = 1
"""Group size with which only sequences of equal length share a group, so that nothing is padded."""
_INVISIBLE = 1e-4
"""Largest difference that padding may make, relative to the largest state."""


def group_size(sequences: Sequences, *, exact: bool) -> int:
    """Sequences in a group. `exact`: group only sequences of equal length, so that nothing is padded."""
    if exact:
        return EXACT
    return GROUP if sequences.tokens.device.type == "cpu" else GROUP_ELSEWHERE


def padded_states(backbone: PreTrainedModel, sequences: Sequences, *, exact: bool) -> Tensor:
    """Token states [T, D] in the order of the tokens.

    Args:
        backbone: called once for each group.
        sequences: without `sentences`.
        exact: pad nothing.
    """
    packing = Packing.plan(sequences, size=group_size(sequences, exact=exact))
    ids = packing.sorted(sequences.tokens)
    if packing.place is not None:
        ids = ids.new_full((packing.slots,), pad_id(backbone)).index_copy_(0, packing.place, ids)
    outputs, first = [], 0
    for group in packing.groups:
        lengths = packing.lengths[first : first + group.count]
        first += group.count
        some = ids[group.start : group.start + group.slots].view(group.count, group.length)
        outputs.append(_run(backbone, some, lengths).flatten(0, 1))
    return packing.restored(packing.from_slots(torch.cat(outputs)))


def padding_shows(backbone: PreTrainedModel) -> bool:
    """Whether padding changes the states of a model and must be avoided, tried with a short and a longer sequence.

    Architectures that mix tokens without a mask (FNet, xLSTM) cannot be padded. Parameters that no state depends on
    lose `requires_grad`, because nothing would train them.

    Raises:
        LangJepaError: the model does not give token states for token ids alone.
    """
    training, rows = backbone.training, token_embeddings(backbone).num_embeddings
    padding = pad_id(backbone)
    tokens = torch.tensor([row for row in range(min(rows, 13)) if row != padding] * 12)[:12]
    both = Sequences(tokens.to(next(backbone.parameters()).device), torch.tensor([3, 9]))
    backbone.train(False)
    try:
        exact = padded_states(backbone, both, exact=True)
        with torch.no_grad():
            padded = padded_states(backbone, both, exact=False)
    except LangJepaError:
        raise
    except Exception as error:  # a foreign forward may raise anything
        raise LangJepaError(
            f"encoders of type {backbone.config.model_type!r} cannot be run on token ids alone "
            f"({type(error).__name__}: {first_line(error)}): use another text encoder."
        ) from error
    finally:
        backbone.train(training)
    used = _behind(exact)
    for parameter in backbone.parameters():
        if used and id(parameter) not in used:
            parameter.requires_grad_(False)
    return float((exact - padded).detach().abs().max()) > _INVISIBLE * float(exact.detach().abs().max())


def _behind(output: Tensor) -> set[int]:
    """The `id`s of the parameters from which a tensor was computed with gradient."""
    found, seen, left = set(), set(), [output.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        left += [one for one, _ in node.next_functions]
    return found


def pad_id(backbone: PreTrainedModel) -> int:
    """The token id to pad with: the model's own padding id, or 0 if it has none."""
    padding = token_embeddings(backbone).padding_idx
    config = backbone.config.get_text_config()
    found = getattr(config, "pad_token_id", None) if padding is None else padding
    return found if isinstance(found, int) and found >= 0 else 0


def _run(backbone: PreTrainedModel, ids: Tensor, lengths: Tensor) -> Tensor:
    """States [G, L, D] of a padded group."""
    options = {}
    if "attention_mask" in inspect.signature(backbone.forward).parameters:
        places = torch.arange(ids.shape[1], device=ids.device)
        options["attention_mask"] = (places < lengths[:, None]).long()
    output = backbone(input_ids=ids, **options)
    states = getattr(output, "last_hidden_state", None)
    if not isinstance(states, Tensor) or states.shape[:2] != ids.shape:
        raise LangJepaError(
            f"encoders of type {backbone.config.model_type!r} give no state for each token: use a text encoder that "
            "does."
        )
    return states
