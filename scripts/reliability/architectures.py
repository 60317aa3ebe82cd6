"""Compare every architecture of a table with transformers' own padded forward: states and gradients within 1e-5.

    python scripts/reliability/architectures.py

Tiny random models in fp32, sequences of 1 to 40 tokens; each is also saved and read back. Exit code 1 if any differs.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from lang_jepa.data.views.batch import Sequences
from lang_jepa.models.architecture import quiet_transformers, width_of
from lang_jepa.models.backbone import build_backbone, save_backbone
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.padded import pad_id
from lang_jepa.settings.encoder import ModelSettings

VOCAB, WIDTH, PAD = 96, 32, 1
LENGTHS = (5, 1, 33, 7, 40, 7, 7, 19, 12)
TOLERANCE = 1e-5

BERT = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
}
LLAMA = BERT | {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 0, "eos_token_id": 2}
T5 = {
    "vocab_size": VOCAB,
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "pad_token_id": PAD,
}
BART = {
    "vocab_size": VOCAB,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
}
GPT2 = {
    "vocab_size": VOCAB,
    "n_embd": WIDTH,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes:
        config: name of the configuration class in transformers.
        fields: fields of a tiny configuration.
        packed: whether it runs packed, rather than padded.
        dropout: whether it has dropout on hidden states.
        mask: whether transformers' own forward takes an attention mask; if not, it is run one sequence at a time.
    """

    config: str
    fields: dict[str, Any]
    packed: bool = False
    dropout: bool = True
    mask: bool = True


def _relative(more: dict[str, Any]) -> dict[str, Any]:
    """Return fields of DeBERTa with relative positions, which are off by default."""
    return BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False} | more


TABLE = {
    "bert": Architecture("BertConfig", BERT, packed=True),
    "roberta": Architecture("RobertaConfig", BERT, packed=True),
    "xlm-roberta": Architecture("XLMRobertaConfig", BERT, packed=True),
    "camembert": Architecture("CamembertConfig", BERT, packed=True),
    "modernbert": Architecture("ModernBertConfig", BERT | {"local_attention": 8}, packed=True),
    "gpt2": Architecture("GPT2Config", GPT2, packed=True),
    "distilbert": Architecture(
        "DistilBertConfig",
        {
            "vocab_size": VOCAB,
            "dim": WIDTH,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "max_position_embeddings": 64,
            "pad_token_id": PAD,
        },
    ),
    "mpnet": Architecture("MPNetConfig", BERT),
    "deberta": Architecture("DebertaConfig", _relative({})),
    "deberta-v2": Architecture("DebertaV2Config", _relative({"position_buckets": 16, "share_att_key": True})),
    "electra": Architecture("ElectraConfig", BERT | {"embedding_size": 16}),
    "albert": Architecture("AlbertConfig", BERT | {"embedding_size": 16}),
    "nomic_bert": Architecture("NomicBertConfig", BERT),
    "eurobert": Architecture("EuroBertConfig", LLAMA, dropout=False),
    "gte": Architecture("GteConfig", BERT),
    "data2vec-text": Architecture("Data2VecTextConfig", BERT),
    "roformer": Architecture("RoFormerConfig", BERT | {"embedding_size": WIDTH}),
    "esm": Architecture("EsmConfig", BERT | {"mask_token_id": 3}),
    "fnet": Architecture("FNetConfig", BERT, mask=False),
    "xlnet": Architecture(
        "XLNetConfig", {"vocab_size": VOCAB, "d_model": WIDTH, "n_layer": 2, "n_head": 4, "d_inner": 64}
    ),
    "t5": Architecture("T5Config", T5),
    "mt5": Architecture("MT5Config", T5),
    "umt5": Architecture("UMT5Config", T5),
    "bart": Architecture("BartConfig", BART),
    "llama": Architecture("LlamaConfig", LLAMA, dropout=False),
    "qwen2": Architecture("Qwen2Config", LLAMA, dropout=False),
    "qwen3": Architecture("Qwen3Config", LLAMA, dropout=False),
    "gemma": Architecture("GemmaConfig", LLAMA, dropout=False),
    "gemma3_text": Architecture(
        "Gemma3TextConfig", LLAMA | {"sliding_window": 8, "use_bidirectional_attention": True}, dropout=False
    ),
    "mistral": Architecture("MistralConfig", LLAMA | {"sliding_window": 8}, dropout=False),
    "opt": Architecture(
        "OPTConfig",
        BERT | {"ffn_dim": 64, "word_embed_proj_dim": WIDTH, "bos_token_id": 0, "eos_token_id": 2},
    ),
    "gpt_neox": Architecture("GPTNeoXConfig", LLAMA),
}
"""Architectures by transformers' `model_type`."""


def config_of(name: str, **changes: Any) -> Any:
    """Return the tiny configuration of a row."""
    row = TABLE[name]
    return getattr(transformers, row.config)(**(row.fields | changes))


def write(name: str, folder: Path, **changes: Any) -> None:
    """Write a complete tiny random model of a row, as transformers saves it."""
    torch.manual_seed(0)
    with quiet_transformers():
        model = AutoModel.from_config(config_of(name, **changes))
        with torch.no_grad():  # initial weights are so small that all states would be alike
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4.0)
        model.save_pretrained(folder)


def settings(name: str, **changes: Any) -> ModelSettings:
    """Return settings for loading such a model."""
    fields = {"embed_dim": WIDTH, "pred_dim": WIDTH, "max_length": 48, "dropout": 0.0} | changes
    return ModelSettings(**fields)


def ragged(lengths: tuple[int, ...] = LENGTHS) -> Sequences:
    """Return random tokens without special ones."""
    generator = torch.Generator().manual_seed(1)
    return Sequences(torch.randint(3, VOCAB, (sum(lengths),), generator=generator), torch.tensor(lengths))


def padded_forward(model: PreTrainedModel, sequences: Sequences, *, mask: bool) -> Tensor:
    """Return states [T, D] of transformers' forward over padded sequences; without `mask`, over one at a time."""
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    if not mask:
        rows = sequences.tokens.split(sequences.lengths.tolist())
        return torch.cat([model(input_ids=row[None]).last_hidden_state[0] for row in rows])
    real = torch.arange(int(sequences.lengths.max())) < sequences.lengths[:, None]
    ids = torch.full(real.shape, pad_id(model))
    ids[real] = sequences.tokens
    return model(input_ids=ids, attention_mask=real.long()).last_hidden_state[real]


def difference(name: str, folder: Path) -> float:
    """Return the larger difference: that of states, or that of gradients relative to the model's largest gradient.

    Args:
        name: a row.
        folder: an empty folder, in which the model is written, read, written again and read again.
    """
    write(name, folder / "theirs")
    with quiet_transformers():
        reference = AutoModel.from_pretrained(
            folder / "theirs", attn_implementation="eager", trust_remote_code=False
        ).eval()
    first = build_backbone(settings(name), vocab_size=VOCAB, weights=str(folder / "theirs"))
    (folder / "ours").mkdir()
    save_backbone(first, folder / "ours")
    encoder = TextEncoder(build_backbone(settings(name), vocab_size=VOCAB, weights=str(folder / "ours"))).eval()
    assert encoder.packed == TABLE[name].packed, f"{name} runs by the other path"
    assert encoder.dim == width_of(reference.config) == WIDTH
    sequences = ragged()
    ours = encoder.states(sequences)
    theirs = padded_forward(reference, sequences, mask=TABLE[name].mask)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    return max(float((ours - theirs).detach().abs().max()), _gradient_difference(encoder.backbone, reference))


def _gradient_difference(ours: PreTrainedModel, theirs: PreTrainedModel) -> float:
    whole = theirs.get_encoder() if theirs.config.is_encoder_decoder else theirs
    expected = {name: one.grad for name, one in whole.named_parameters() if one.grad is not None}
    if "shared.weight" in dict(ours.named_parameters()):  # T5's encoder as a separate model
        expected = {f"encoder.{name}": grad for name, grad in expected.items()}
        expected["shared.weight"] = expected.pop("encoder.embed_tokens.weight")
    found = {name: one.grad for name, one in ours.named_parameters() if one.requires_grad}
    assert found.keys() == expected.keys(), f"gradients of {sorted(found.keys() ^ expected.keys())}"
    largest = max(float(grad.abs().max()) for grad in expected.values())
    return max(float((found[name] - grad).abs().max()) / largest for name, grad in expected.items())


def main() -> int:
    """Print a line for each architecture, and the number that agree."""
    good = 0
    for name in TABLE:
        with tempfile.TemporaryDirectory() as folder:
            found = difference(name, Path(folder))
        good += found <= TOLERANCE
        path = "packed" if TABLE[name].packed else "padded"
        print(f"{name:14} {path}  {found:.1e}{'' if found <= TOLERANCE else '  DIFFERS'}")
    print(f"{good} of {len(TABLE)} architectures equal within 1e-5 (states and gradients)")
    return int(good < len(TABLE))


if __name__ == "__main__":
    sys.exit(main())
