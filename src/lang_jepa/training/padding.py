"""How many slots are padding. Linear layers have none; attention fills small groups of sequences to equal length."""

from collections.abc import Callable
from itertools import islice

from lang_jepa.data.order import Order
from lang_jepa.data.sequences import Batch, Sequences
from lang_jepa.data.views import View
from lang_jepa.models.packing import group_slots

_BATCHES = 200


def padding_share(*batches: Batch, slots: Callable[[Sequences], int] = group_slots) -> float:
    """Share of slots, over contexts and targets, that hold no token. `slots`: how many some sequences take."""
    parts = _parts(batches)
    return 1.0 - sum(int(part.lengths.sum()) for part in parts) / sum(slots(part) for part in parts)


def padded_share(*batches: Batch) -> float:
    """The same share if every batch were padded to its longest sequence, as is usual."""
    parts = _parts(batches)
    slots = sum(len(part) * int(part.lengths.max()) for part in parts)
    return 1.0 - sum(int(part.lengths.sum()) for part in parts) / slots


def _parts(batches: tuple[Batch, ...]) -> list[Sequences]:
    return [part for batch in batches for part in (batch.contexts.sequences, batch.targets.sequences)]


def padding_facts(view: View, order: Order) -> list[tuple[str, str]]:
    """Rows for a table: targets, and padding with and without packing, over the first batches of an epoch."""
    if not view.count:
        return []
    batches = [view.batch(group[0]) for _, group in islice(order.groups(0), _BATCHES)]
    return [
        ("targets in an epoch", f"{view.targets:,}"),
        ("padding in linear layers", "0 % of slots (encoders that run packed)"),
        ("padding in attention", f"{100 * padding_share(*batches):.2f} % of slots"),
        ("(padded batches instead)", f"{100 * padded_share(*batches):.2f} % of slots"),
    ]
