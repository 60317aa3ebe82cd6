"""Text from a GPT, token by token, by the same kernel as in training and with the keys and values kept."""

import torch
from torch import Tensor

from lang_jepa.errors import LangJepaError
from lang_jepa.models.gpt import GPT


@torch.no_grad()
def generate(
    model: GPT,
    prompt: Tensor,
    *,
    tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    looped: tuple[int, ...] = (),
) -> Tensor:
    """Go on after prompts; the global random state is left as it was.

    Args:
        model: writes.
        prompt: int64 [B, P], P at least 1.
        tokens: how many to write at most; the model's seq_len may allow fewer.
        temperature: logits are divided by it (0: always the likeliest token).
        top_k: draw from so many of the likeliest (0: all).
        top_p: draw from the fewest likeliest whose probabilities reach this sum (1: all; arXiv 1904.09751).
        seed: of the draws.
        looped: layers that are passed through twice.

    Returns:
        int64 [B, P + n], the prompts and what was written.

    Raises:
        LangJepaError: an empty or too long prompt, or options out of range.
    """
    if not 0 < prompt.shape[1] <= model.seq_len:
        raise LangJepaError(f"a prompt has 1 to {model.seq_len} tokens (data.seq_len), not {prompt.shape[1]}")
    if temperature < 0 or top_k < 0:
        raise LangJepaError(f"temperature ({temperature}) and top_k ({top_k}) must not be negative")
    if not 0 < top_p <= 1:
        raise LangJepaError(f"top_p ({top_p}) is a share of probability: above 0, and 1 at most")
    length = min(prompt.shape[1] + tokens, model.seq_len)
    generator = torch.Generator(device=prompt.device).manual_seed(seed)
    cache = model.make_cache(len(prompt), length, looped=looped)
    written = prompt
    for _ in range(length - prompt.shape[1]):
        final = model.states(written[:, cache[0].filled :], looped=looped, cache=cache).final[:, -1]
        logits = model.logits(final)
        chosen = _choose(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        written = torch.cat([written, chosen], dim=1)
    return written


def _choose(logits: Tensor, *, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> Tensor:
    """One token for each row of logits [B, V], int64 [B, 1]."""
    if not temperature:
        return logits.argmax(-1, keepdim=True)
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = (logits / temperature).softmax(-1)
    if top_p < 1:
        falling, order = probabilities.sort(descending=True, stable=True)
        before = falling.cumsum(-1) - falling  # of all likelier ones: the likeliest always stays
        kept = falling * (before < top_p)
        probabilities = torch.zeros_like(kept).scatter(-1, order, kept)  # multinomial divides by their sum
    return torch.multinomial(probabilities, 1, generator=generator)
