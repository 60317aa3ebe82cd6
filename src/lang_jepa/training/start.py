"""How a model starts: whitening its head on a sample, because an un-whitened start collapses."""

import numpy as np
import torch
from torch import Tensor, nn

from lang_jepa.concepts.directory import build_jepa
from lang_jepa.config import Settings
from lang_jepa.data.order import permuted
from lang_jepa.data.tokenizer import TextTokenizer
from lang_jepa.data.views import View
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.similarity import Statistics
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.jepa import Jepa

_PASS = 512  # sentences in one pass


@torch.inference_mode()
def sample_embeddings(encoder: TextEncoder, view: View, count: int, *, seed: int, head: bool) -> Tensor:
    """Embeddings [n, D] (fp32, CPU, not normalised) of up to `count` sentences of a view, in eval mode.

    Args:
        encoder: left in the mode it was found in.
        view: where sentences come from.
        count: sentences at most.
        seed: of the draw.
        head: apply the head (False: the pooled vectors before it).
    """
    device, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    available = view.split.num_sentences
    rows = permuted(np.arange(min(count, available)), available, seed=seed, epoch=0)
    rows = rows[np.argsort(view.split.lengths(rows), kind="stable")]
    parts = []
    for begin in range(0, len(rows), _PASS):
        sequences = view.sentences(rows[begin : begin + _PASS]).to(device)
        pooled = encoder.pool(encoder.states(sequences), sequences.owner(), len(sequences))
        parts.append((pooled if encoder.head is None or not head else encoder.head(pooled)).float().cpu())
    encoder.train(training)
    return torch.cat(parts)


def start_model(settings: Settings, tokenizer: TextTokenizer, sample: View) -> Jepa:
    """The model as training begins with it: seeded, and its head whitened where the settings say so.

    Args:
        settings: of the run.
        tokenizer: of the corpus.
        sample: training sentences to whiten on.
    """
    torch.manual_seed(settings.meta.seed)
    jepa = build_jepa(settings, tokenizer)
    if settings.model.head == "whitened":
        assert jepa.encoder.head is not None
        count, seed = settings.model.head_sample, settings.meta.seed
        whiten_head(jepa.encoder.head, sample_embeddings(jepa.encoder, sample, count, seed=seed, head=False))
    return jepa.train()


def whiten_head(head: nn.Linear, pooled: Tensor) -> None:
    """Set a head to the ZCA whitening of a sample: zero mean, unit covariance in every direction.

    Args:
        head: [D] to [D].
        pooled: [N, D] vectors before the head.

    Raises:
        LangJepaError: fewer than two vectors.
    """
    if len(pooled) < 2:
        raise LangJepaError(
            "whitening the head needs at least two training sentences; raise model.head_sample"
        )
    statistics = Statistics.of(pooled.numpy(), shrinkage=1e-3)
    matrix = torch.from_numpy(statistics.whitening)
    with torch.no_grad():
        head.weight.copy_(matrix)
        head.bias.copy_(-(torch.from_numpy(statistics.mean) @ matrix))
