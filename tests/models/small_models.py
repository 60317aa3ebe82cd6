"""The smallest encoders and sequences for the tests of what is built on them."""

import torch

from lang_jepa.data.views.batch import Sequences
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.settings.encoder import ModelSettings

DIM = 32


def settings(**changes: object) -> ModelSettings:
    values = {
        "pretrained": False,
        "architecture": "bert",
        "embed_dim": DIM,
        "pred_dim": DIM,
        "num_layers": 1,
        "num_heads": 2,
        "predictor_heads": 2,
        "max_length": 40,
        "dropout": 0.0,
        "head": "linear",
    }
    return ModelSettings.model_validate(values | changes)


def encoder(seed: int = 0, **changes: object) -> TextEncoder:
    torch.manual_seed(seed)
    made = build_encoder(settings(**changes), vocab_size=90, pad_id=1, bos_id=0, eos_id=2)
    if made.head is not None:
        with torch.no_grad():  # away from the identity, so that a forgotten head shows
            made.head.weight.add_(0.3 * torch.randn(DIM, DIM))
            made.head.bias.add_(torch.randn(DIM))
    return made


def sequences(lengths: list[int], seed: int = 1) -> Sequences:
    generator = torch.Generator().manual_seed(seed)
    return Sequences(torch.randint(3, 90, (sum(lengths),), generator=generator), torch.tensor(lengths))
