"""A GPT: its model directory, and the model with its tokenizer, which continues and encodes texts.

    model.safetensors                the weights (their moving average, if there was one), tied ones once
    tokenizer.json or                the tokenizer: of a prepared corpus,
    tokenizer.model                  or the SentencePiece model of token shards
    settings.yaml                    the resolved settings of the training run
    gpt.json                         format, step, looped layers, the token that begins a text, scores, hashes

The vector of a text is the L2-normalised mean of its tokens' hidden states at one layer (the last, before its norm,
unless evaluation.sentence_layer names another). The text is read alone, after the token that begins a document; that
token's state, equal for all texts, is not in the mean. Of a text of more than seq_len - 1 tokens, only the last
seq_len - 1 are read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.data.text.tokenizer import Ints, TextTokenizer
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_shards import TOKENIZER
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics, unit_rows
from lang_jepa.files.arrays import check_finite
from lang_jepa.inference.model_folder import (
    GPT_CARD,
    SETTINGS,
    WEIGHTS,
    find_gpt,
    nearest_run,
    read_card,
    read_tensors,
    why_no_model,
    write_tensors,
    writing_model,
)
from lang_jepa.inference.texts import items_of, text_of, texts_of
from lang_jepa.models.gpt import GPT
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import read_settings


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
    """Continue prompts; the global random state is left as it was.

    Args:
        model: the model that writes.
        prompt: int64 [B, P], P at least 1.
        tokens: most tokens to write; the model's seq_len may allow fewer.
        temperature: logits are divided by it (0: always the likeliest token).
        top_k: draw from this many of the likeliest tokens (0: all).
        top_p: draw from the fewest likeliest tokens whose probabilities reach this sum (1: all; arXiv 1904.09751).
        seed: seed of the draws.
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
    """Choose one token for each row of logits [B, V]: int64 [B, 1]."""
    if not temperature:
        return logits.argmax(-1, keepdim=True)
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = (logits / temperature).softmax(-1)
    if top_p < 1:
        falling, order = probabilities.sort(descending=True, stable=True)
        before = falling.cumsum(-1) - falling  # sum over likelier tokens: the likeliest always stays
        kept = falling * (before < top_p)
        probabilities = torch.zeros_like(kept).scatter(-1, order, kept)  # multinomial divides by their sum
    return torch.multinomial(probabilities, 1, generator=generator)


BATCH_TOKENS = 8192
"""Token slots of a batch of texts, padding included."""
_GPT_FILES = (WEIGHTS, TOKENIZER, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def build_gpt(settings: GPTSettings) -> GPT:
    """Build a fresh model from settings."""
    data = settings.data
    return GPT(settings.model, vocab_size=data.vocab_size, seq_len=data.seq_len)


def initial_gpt(settings: GPTSettings) -> GPT:
    """Build the model that training begins with: equal for equal meta.seed, model, vocabulary and sequence length."""
    torch.manual_seed(settings.meta.seed)
    return build_gpt(settings)


def save_gpt(
    folder: Path,
    model: GPT,
    settings: GPTSettings,
    *,
    save_tokenizer: Callable[[Path], None],
    looped: tuple[int, ...],
    bos_id: int,
    **card: Any,
) -> None:
    """Write a model directory atomically; files in an older one there that were not written here stay in it.

    Args:
        folder: folder of the model; one that holds something else is refused.
        model: the model, for its weights.
        settings: settings of its training.
        save_tokenizer: writes the tokenizer's files into a folder.
        looped: layers that are passed through twice at the end of training.
        bos_id: the token that begins a text.
        card: what else gpt.json should say (step, scores).

    Raises:
        LangJepaError: something else is there, weights are not finite, or the disk is full.
    """
    check_finite(model.state_dict(), where=f"the GPT to be written to {folder}")
    about = {"looped": list(looped), "bos_id": bos_id, **card}
    with writing_model(folder, GPT_CARD, settings, about, ours=_GPT_FILES) as temporary:
        write_tensors(model, temporary / WEIGHTS)
        save_tokenizer(temporary)


def load_gpt(path: Path | str) -> tuple[GPT, GPTSettings, Mapping[str, Any]]:
    """Load a trained model in evaluation mode, the settings of its training, and its card.

    Raises:
        LangJepaError: not a model directory; a file is missing, damaged or replaced; the weights do not fit.
    """
    folder = find_gpt(path)
    if folder is None:
        raise LangJepaError(
            why_no_model(Path(path))
            or f"{path} is not a model directory of a GPT (it has no {GPT_CARD}); an encoder is read, evaluated and "
            f"exported by other options than a GPT (int8 and int6 are of GPTs){nearest_run(Path(path))}"
        )
    card = read_card(folder / GPT_CARD, what="model card")
    if lacking := [name for name in ("looped", "bos_id") if name not in card]:
        raise LangJepaError(f"the card of the GPT {folder / GPT_CARD} is damaged: it lacks {', '.join(lacking)}")
    settings = read_settings(folder / SETTINGS, GPTSettings)
    return (restore_gpt(settings, read_tensors(folder / WEIGHTS), where=str(folder / WEIGHTS)), settings, card)


def restore_gpt(settings: GPTSettings, tensors: Mapping[str, Tensor], *, where: str) -> GPT:
    """Build a GPT from settings and weights, in evaluation mode.

    Raises:
        LangJepaError: they do not fit each other; found before a model of the size that the settings claim is built.
    """
    check_weights(settings, {name: tuple(one.shape) for name, one in tensors.items()}, where=where)
    model = build_gpt(settings)
    model.load_state_dict(tensors)
    return model.eval()


def check_weights(settings: GPTSettings, shapes: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    """Raise LangJepaError unless a GPT of these settings has tensors of these names and shapes; costs no memory."""
    wrong = [f"{settings.model.num_layers} layers in {len(shapes)} tensors"]
    if settings.model.num_layers <= len(shapes):
        with torch.device("meta"):
            wanted = {name: tuple(one.shape) for name, one in build_gpt(settings).state_dict().items()}
        wrong = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
    if wrong:
        raise LangJepaError(f"{where} does not fit the model's settings: look at {', '.join(wrong[:5])}")


def load_table(path: Path | str) -> ByteTable:
    """Load bytes and text of the tokens of a GPT's model directory."""
    folder = find_gpt(path) or Path(path)
    if (folder / TOKENIZER).is_file():
        return ByteTable.of_pieces(Pieces.load(folder / TOKENIZER))
    return ByteTable.of_tokenizer(TextTokenizer.load(str(folder)))


class TextGPT:
    """A trained GPT that reads and writes text.

    Args:
        model: the model, in evaluation mode.
        table: byte table of its tokenizer.
        bos_id: the token that begins a document.
        looped: layers that are passed through twice.
        layer: layer whose states are averaged (-1: the last, before its norm).

    Attributes:
        dim: width of a vector.
        statistics: statistics of training vectors; `identity` until they are set.
    """

    def __init__(self, model: GPT, table: ByteTable, *, bos_id: int, looped: tuple[int, ...], layer: int = -1) -> None:
        self.model, self.table, self.bos_id = model, table, bos_id
        self.looped, self.layer = looped, layer
        self.dim = model.settings.model_dim
        self.statistics = Statistics.identity(self.dim)

    def __repr__(self) -> str:
        model, parameters = self.model.settings, sum(one.numel() for one in self.model.parameters())
        return (
            f"TextGPT({model.num_layers} layers of {model.model_dim}; {parameters / 1e6:.1f} M parameters; reads "
            f"{self.model.seq_len:,} tokens; vocabulary {len(self.table.base):,})"
        )

    @classmethod
    def load(cls, path: Path | str) -> "TextGPT":
        """Load a run directory or a model directory.

        Raises:
            LangJepaError: see `load_gpt`.
        """
        model, settings, card = load_gpt(path)
        return cls(
            model,
            load_table(path),
            bos_id=card["bos_id"],
            looped=tuple(card["looped"]),
            layer=settings.evaluation.sentence_layer,
        )

    def write(
        self,
        prompt: str,
        *,
        tokens: int,
        samples: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """Write texts that begin with a prompt, each up to the end of its document.

        Args:
            prompt: the beginning of a document; may be empty.
            tokens: most tokens to write; the model's seq_len may allow fewer.
            samples: how many texts to write.
            temperature, top_k, top_p, seed: see `lang_jepa.inference.gpt.generate`.

        Raises:
            LangJepaError: the prompt leaves no room to write, or an option is out of range.
        """
        prompt = text_of(prompt, "the prompt", blank=True)
        ids = [self.bos_id, *self.table.encode([prompt])[0].tolist()] if prompt else [self.bos_id]
        if len(ids) >= self.model.seq_len:
            raise LangJepaError(
                f"the prompt has {len(ids) - 1:,} tokens, and the model reads {self.model.seq_len:,} (data.seq_len) "
                f"with what it writes and the one that begins a document: shorten it to {self.model.seq_len - 2:,} "
                "at most"
            )
        written = generate(
            self.model,
            torch.tensor([ids] * samples, device=self._device),
            tokens=tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            looped=self.looped,
        )
        return [self._text(row[1:], len(ids) - 1) for row in written.tolist()]

    def _text(self, ids: list[int], given: int) -> str:
        """Decode ids up to the beginning of the next document, skipping ids that the tokenizer does not have."""
        end = ids.index(self.bos_id, given) if self.bos_id in ids[given:] else len(ids)
        return self.table.decode([index for index in ids[:end] if index < len(self.table.base)])

    def encode(self, sentences: str | Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, float32 [n, D], unit rows (zero without a token); [D] for a single string."""
        if isinstance(sentences, str):
            one: NDArray[np.float32] = self.encode([sentences])[0]
            return one
        return self.encode_tokens(self.tokenize(sentences))

    def tokenize(self, sentences: Sequence[str]) -> list[Ints]:
        """Return the token ids of each text, as many as are read."""
        return [row[-(self.model.seq_len - 1) :] for row in self.table.encode(texts_of(sentences, blank=True))]

    def encode_tokens(self, ids: Sequence[Ints]) -> NDArray[np.float32]:
        """Encode what `tokenize` returns, as `encode` does."""
        means = np.zeros((len(ids), self.dim), dtype=np.float32)
        for rows in _batches([len(one) for one in ids]):
            means[rows] = self._means([ids[row] for row in rows])
        return unit_rows(means)

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Encode each context's sentences as one text, to compare with what may follow: float32 [n, D], unit rows."""
        return self.encode([" ".join(texts_of(one, "sentence", blank=True)) for one in items_of(contexts, "context")])

    @property
    def _device(self) -> torch.device:
        return self.model.embedding.weight.device

    @torch.no_grad()
    def _means(self, texts: Sequence[Ints]) -> NDArray[np.float32]:
        """Return mean states of texts' tokens, float32 [B, D]; padding follows the tokens, which cannot see it."""
        width = 1 + max(len(ids) for ids in texts)
        tokens = np.full((len(texts), width), self.bos_id, dtype=np.int64)
        counted = np.zeros((len(texts), width, 1), dtype=np.float32)
        for row, mask, ids in zip(tokens, counted, texts, strict=True):
            row[1 : 1 + len(ids)] = ids
            mask[1 : 1 + len(ids)] = 1 / max(1, len(ids))
        moved = torch.from_numpy(tokens).to(self._device)
        states: Tensor = self.model.states(moved, tap=self.layer, looped=self.looped).tapped
        means: NDArray[np.float32] = (states.float() * torch.from_numpy(counted).to(self._device)).sum(1).cpu().numpy()
        return means


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield rows of texts of similar length, in batches of at most `BATCH_TOKENS` slots."""
    order = np.argsort(lengths, kind="stable").tolist()
    batch: list[int] = []
    for row in order:  # in ascending order, so that the newest is the longest
        if batch and (len(batch) + 1) * (1 + lengths[row]) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
