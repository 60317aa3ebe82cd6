"""The training loop: the whole algorithm on one page."""

import time
from collections.abc import Callable
from itertools import islice

from lang_jepa.data.views import View
from lang_jepa.data.views.batch import Batch, Sequences
from lang_jepa.data.views.order import Order
from lang_jepa.models.packing import group_slots
from lang_jepa.objectives.objective import Loss
from lang_jepa.training.optim import check_gradients, clip_gradients, set_rates
from lang_jepa.training.run import Run
from lang_jepa.training.signals import StopRequest

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


def fit(run: Run) -> None:
    """Train until the run's last step, or until asked to stop; leaves a checkpoint either way.

    Raises:
        LangJepaError: the loss or its gradient is not finite (the update is not made), or the collapse watch rang and
            meta.on_collapse is `stop`.
    """
    with StopRequest() as stop:
        if not run.resumed:
            run.look()
        while run.step < run.total:
            began = time.perf_counter()
            position, wanted = run.material.loader.state, run.settings.optimization.grad_accum_steps
            batches = [] if stop.requested else [run.next_batch() for _ in range(wanted)]
            count, stopping = run.agree(sum(batch.predictions for batch in batches), stop.requested)
            if stopping:
                run.material.loader.state = position  # no step was made of the batches just read
                run.interrupted, run.stopped_by = True, stop.number
                break
            train_step(run, batches, count)
            run.seconds += time.perf_counter() - began
            run.after_step()
    run.save()


def train_step(run: Run, batches: list[Batch], count: int) -> None:
    """One optimizer step over its micro-batches; `count`: predictions in all of them, on all ranks."""
    began = time.perf_counter()
    rate = set_rates(run.optimizer, run.schedule, run.step)
    weight = run.schedule.regularizer_weight(run.settings.objective, run.step)
    losses = []
    for number, batch in enumerate(batches, start=1):
        with run.fabric.no_backward_sync(run.model, enabled=number < len(batches)):
            with run.fabric.autocast():
                output, targets = run.target.both_sides(run.model, batch)
            loss = run.objective(
                output,
                targets,
                count=count,
                micro_batches=len(batches),
                regularizer_weight=weight,
                step=run.step,
                numbers=batch.sentence_ids,
            )
            run.fabric.backward(loss.total)
        losses.append(loss)
    if run.step == run.first_step:
        check_gradients(run.jepa)
    norm = _clip(run, losses)
    run.optimizer.step()
    run.optimizer.zero_grad()
    momentum = run.schedule.momentum(run.step)
    run.target.update(run.jepa.encoder, momentum)
    run.step += 1
    run.log_step(
        losses,
        count,
        rate=rate,
        weight=weight,
        momentum=momentum,
        norm=norm,
        padding=padding_share(*batches, slots=run.jepa.encoder.slots),
        seconds=time.perf_counter() - began,
    )


def _clip(run: Run, losses: list[Loss]) -> float:
    """Clip the gradient and return its norm before clipping; stop the run if anything is not finite."""
    norm = clip_gradients(run.jepa, run.settings.optimization.clip_grad)
    loss = float(sum(loss.total.detach() for loss in losses))
    run.place.check_finite(run.step + 1, loss, norm, run.settings, chief=run.chief)
    return norm
