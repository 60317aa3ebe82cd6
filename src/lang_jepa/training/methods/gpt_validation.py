"""Validation of a GPT: bits per byte, the span loss with and without what all texts have in common, and samples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lang_jepa.data.tokens.token_stream import draw_spans
from lang_jepa.evaluation.metrics import bits_per_byte
from lang_jepa.inference.gpt import generate
from lang_jepa.models.gpt import GPT
from lang_jepa.objectives.gpt_losses import pick, span_losses, without_drift
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.training.methods.gpt_data import Tokens

_SPAN_SEED = 0
"""Fixed, so that all runs use the same positions and can be compared."""


class GPTValidation:
    """A fixed held-out sample, divided among the ranks.

    Args:
        settings: sample size and options.
        tokens: both splits; the held-out one must exist.
        fabric: a launched Lightning Fabric.

    Raises:
        LangJepaError: there is nothing to predict, or the byte counts differ from the decoded text.
    """

    def __init__(self, settings: GPTSettings, tokens: Tokens, fabric: Any) -> None:
        assert tokens.held_out is not None
        self.settings, self.tokens, self.fabric = settings, tokens, fabric
        evaluation, data = settings.evaluation, settings.data
        self.validation = bits_per_byte.Validation(
            tokens.held_out,
            tokens.table,
            length=data.seq_len,
            batch_size=max(1, evaluation.val_batch_tokens // data.seq_len),
            device=fabric.device,
            max_tokens=evaluation.val_tokens,
        )
        self.rows = self._sequences(tokens.held_out, evaluation.span_sequences)

    def _sequences(self, source: Any, count: int) -> np.ndarray[Any, Any]:
        """Return sequences spread over the held-out tokens, int64 [n, T]."""
        length = self.settings.data.seq_len
        last = max(0, source.num_tokens - length)
        starts = np.unique(np.linspace(0, last, min(count, 1 + last // length)).astype(np.int64))
        rows = [source.read(int(start), min(int(start) + length, source.num_tokens)) for start in starts]
        return np.stack(rows)

    def metrics(self, model: GPT, looped: tuple[int, ...], *, last: bool) -> dict[str, float]:
        """Compute held-out metrics; every rank must call this.

        Args:
            model: in evaluation mode.
            looped: layers that are passed through twice.
            last: whether the run ends here; if so, sliding windows are also used if the settings give a stride.
        """

        def logits(tokens: Tensor) -> Tensor:
            with self.fabric.autocast():
                return model(tokens, looped=looped)  # type: ignore[no-any-return]

        found = self.validation.score(logits)
        metrics = {
            "val/token_loss": found.val_loss,
            "val/bits_per_byte": found.val_bpb,
            "val/tokens": float(found.tokens),
            "val/bytes": float(found.bytes),
            **self._spans(model, looped),
        }
        stride = self.settings.evaluation.stride
        if last and stride is not None:
            sliding = self.validation.score(logits, stride=stride)
            metrics["val/sliding_loss"] = sliding.val_loss
            metrics["val/sliding_bits_per_byte"] = sliding.val_bpb
        return metrics

    @torch.no_grad()
    def _spans(self, model: GPT, looped: tuple[int, ...]) -> dict[str, float]:
        """Compute the span loss of the held-out sequences, and that of the states minus their mean at each position."""
        jepa, rows, fabric = self.settings.jepa, self.rows, self.fabric
        positions = torch.from_numpy(
            draw_spans(
                rows,
                np.arange(len(rows)),
                form=jepa.form,
                spans=jepa.spans,
                max_frac=jepa.max_span_frac,
                bos_id=self.tokens.train.bos_id,
                seed=_SPAN_SEED,
            )
        ).to(fabric.device)
        own = torch.arange(len(rows))[fabric.global_rank :: fabric.world_size]
        parts = list(torch.split(own, self.validation.batch_size))
        most = -(-len(rows) // (self.validation.batch_size * fabric.world_size))  # of rank zero
        parts += [own[:0]] * (most - len(parts))  # every rank makes as many passes
        total = torch.zeros(rows.shape[1], self.settings.model.model_dim, dtype=torch.float64, device=fabric.device)
        picked = []
        for part in parts:
            tokens = torch.from_numpy(rows[part.numpy() if len(part) else [0]]).to(fabric.device)
            with fabric.autocast():
                states = model.states(tokens, tap=jepa.layer, looped=looped).tapped[: len(part)]
            total += states.double().sum(0)
            picked.append(pick(states, positions[part]))
        mean = (sum_over_ranks(total) / len(rows)).float()
        sums = torch.zeros(3, dtype=torch.float64, device=fabric.device)
        for states, part in zip(picked, parts, strict=True):
            there = positions[part]
            plain = span_losses(states, there, jepa.form)
            centred = span_losses(without_drift(states, there, mean), there, jepa.form)
            sums += torch.stack([plain.sum(), centred.sum(), (there[..., 0] >= 0).sum()]).double()
        loss, driftless, count = sum_over_ranks(sums).tolist()
        if not count:
            return {}
        metrics = {"val/span_loss": loss / count}
        if len(rows) > 1:  # one sequence is its own mean
            metrics["val/span_loss_without_drift"] = driftless / count
        return metrics

    def samples(self, model: GPT, looped: tuple[int, ...], *, seed: int) -> list[str]:
        """Generate texts from the beginning of a document; for one rank."""
        evaluation = self.settings.evaluation
        count = self.settings.logging.num_examples
        if not count:
            return []
        bos = torch.full((count, 1), self.tokens.train.bos_id, device=self.fabric.device)
        written = generate(
            model,
            bos,
            tokens=evaluation.sample_tokens,
            temperature=evaluation.temperature,
            top_k=evaluation.top_k,
            seed=seed,
            looped=looped,
        )
        return [self._text(row) for row in written.tolist()]

    def _text(self, ids: list[int]) -> str:
        """Decode up to the beginning of the next document, as one line; ids unknown to the tokenizer are dropped."""
        bos = self.tokens.train.bos_id
        rest = [index for index in ids[1:] if index < self.tokens.train.vocab_size]
        ids = rest[: rest.index(bos)] if bos in rest else rest
        return " ".join(self.tokens.table.decode(ids).split())
