"""The baseline of `speed.py`: next-sentence JEPA training as it is usually written.

Every step tokenizes strings and pads them to the longest of the batch, runs the stock transformers model in fp32
with `nn.Dropout` on hidden states and attention probabilities, encodes the targets with an EMA copy, predicts with
one learnt attention query over the padded states, and updates with plain AdamW and an EMA loop over parameters.
"""

import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

Pair = tuple[str, str]


class Predictor(nn.Module):
    """One learnt query attends over padded states; LayerNorm; linear output."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, dim // heads) * (dim // heads) ** -0.5)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm, self.output = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, real: Tensor) -> Tensor:
        """Map states [N, L, D] and bool [N, L], true at tokens, to predictions [N, D]."""
        keys = self.key(states).unflatten(-1, (self.heads, -1))
        values = self.value(states).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("nlhc,hc->nlh", keys, self.query) * keys.shape[-1] ** -0.5
        weights = scores.masked_fill(~real.unsqueeze(-1), -torch.inf).softmax(1)
        attended = torch.einsum("nlh,nlhc->nhc", weights, values).flatten(1)
        return self.output(self.norm(self.dropout(attended)))


class PaddedBaseline:
    """Model, optimizer and one training step.

    Args:
        weights: folder of a pretrained transformers encoder with its tokenizer.
        max_length: maximum number of tokens in a context or target; contexts lose their oldest.
        dropout: rate on hidden states, attention probabilities and in the predictor.
    """

    def __init__(self, weights: str, *, max_length: int = 256, dropout: float = 0.1, lr: float = 1e-5) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(weights, trust_remote_code=False)
        self.max_length = max_length
        self.encoder = AutoModel.from_pretrained(
            weights,
            trust_remote_code=False,
            add_pooling_layer=False,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        ).train()
        self.target = copy.deepcopy(self.encoder).eval().requires_grad_(False)
        self.predictor = Predictor(self.encoder.config.hidden_size, heads=4, dropout=dropout)
        self.parameters = [*self.encoder.parameters(), *self.predictor.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=0.04)

    def loss(self, pairs: Sequence[Pair]) -> Tensor:
        """Smooth-L1 of the unit-RMS prediction and target, mean over pairs and dimensions."""
        contexts, targets = [context for context, _ in pairs], [target for _, target in pairs]
        states, real = self._encode(self.encoder, contexts, "left")
        with torch.no_grad():
            their_states, theirs_real = self._encode(self.target, targets, "right")
            mask = theirs_real.unsqueeze(-1)
            theirs = (their_states * mask).sum(1) / mask.sum(1)
        ours = self.predictor(states, real)
        scale = ours.shape[-1] ** 0.5
        return F.smooth_l1_loss(F.normalize(ours, dim=-1) * scale, F.normalize(theirs, dim=-1) * scale)

    def step(self, pairs: Sequence[Pair], momentum: float = 0.996) -> float:
        """One optimizer step and one EMA update."""
        self.optimizer.zero_grad()
        loss = self.loss(pairs)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for mine, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                mine.mul_(momentum).add_(online, alpha=1 - momentum)
        return loss.item()

    def _encode(self, model: nn.Module, texts: list[str], truncated: str) -> tuple[Tensor, Tensor]:
        self.tokenizer.truncation_side = truncated
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        return model(**batch).last_hidden_state, batch["attention_mask"].bool()


def measure(weights: str, batches: Sequence[Sequence[Pair]], *, seconds: float) -> dict[str, float]:
    """Train on the batches in order.

    Args:
        weights: see `PaddedBaseline`.
        batches: pairs of each step.
        seconds: stop after so long, though not before three steps.

    Returns:
        steps, predictions, seconds and cpu_seconds, without one warming-up step.
    """
    torch.manual_seed(0)
    baseline = PaddedBaseline(weights)
    baseline.step(batches[0])
    done, predictions, began, used = 0, 0, time.perf_counter(), time.process_time()
    while done < len(batches) and (done < 3 or time.perf_counter() - began < seconds):
        baseline.step(batches[done])
        predictions += len(batches[done])
        done += 1
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    return {"steps": done, "predictions": predictions, **times}
