"""Environment variables: every one sets its setting, and what cannot be is refused by its name."""

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import load_gpt_settings
from lang_jepa.training.environment import VARIABLES, overrides_of

INTERFACE = {
    "JEPA_LAMBDA": ("0.05", "jepa.weight", 0.05),
    "JEPA_MAX_SPAN_FRAC": ("0.25", "jepa.max_span_frac", 0.25),
    "JEPA_START_FRAC": ("0.1", "jepa.start_frac", 0.1),
    "JEPA_LAYER": ("3", "jepa.layer", 3),
    "DATA_PATH": ("some/folder", "data.data_path", "some/folder"),
    "TOKENIZER_PATH": ("a b.model", "data.tokenizer_path", "a b.model"),
    "RUN_ID": ("baseline", "logging.log_dir", "runs/baseline"),
    "SEED": ("1337", "meta.seed", 1337),
    "ITERATIONS": ("500", "optimization.max_steps", 500),
    "WARMUP_STEPS": ("0", "optimization.warmup_steps", 0),
    "WARMDOWN_ITERS": ("100", "optimization.warmdown_steps", 100),
    "TRAIN_BATCH_TOKENS": ("8192", "data.batch_tokens", 8192),
    "TRAIN_SEQ_LEN": ("512", "data.seq_len", 512),
    "TRAIN_LOG_EVERY": ("7", "logging.log_freq", 7),
    "VAL_LOSS_EVERY": ("50", "logging.eval_freq", 50),
    "MAX_WALLCLOCK_SECONDS": ("600", "optimization.max_seconds", 600.0),
    "VOCAB_SIZE": ("2048", "data.vocab_size", 2048),
    "NUM_LAYERS": ("9", "model.num_layers", 9),
    "MODEL_DIM": ("256", "model.model_dim", 256),
    "NUM_HEADS": ("8", "model.num_heads", 8),
    "NUM_KV_HEADS": ("1", "model.num_kv_heads", 1),
    "MLP_MULT": ("2", "model.mlp_mult", 2.0),
    "TIE_EMBEDDINGS": ("0", "model.tie_embeddings", False),
    "LOGIT_SOFTCAP": ("15", "model.logit_softcap", 15.0),
    "ROPE_BASE": ("5e4", "model.rope_base", 50_000.0),
    "QK_GAIN_INIT": ("1.25", "model.qk_gain_init", 1.25),
    "MATRIX_LR": ("1e-5", "optimization.lr", 1e-5),
    "SCALAR_LR": ("0.03", "optimization.scalar_lr", 0.03),
    "TIED_EMBED_LR": ("0.07", "optimization.embedding_lr", 0.07),
    "MUON_MOMENTUM": ("0.9", "optimization.muon_momentum", 0.9),
}
"""Everything that the interface promises, with a value that is not the recipe's."""


def value(settings: GPTSettings, path: str) -> object:
    section, key = path.split(".")
    return getattr(getattr(settings, section), key)


def test_every_promised_variable_sets_its_setting() -> None:
    environment = {name: text for name, (text, _, _) in INTERFACE.items()}
    settings = load_gpt_settings("gpt_jepa", overrides_of(environment | {"PATH": "/bin", "HOME": "/"}))
    before = load_gpt_settings("gpt_jepa")
    for path, expected in ((path, expected) for _, path, expected in INTERFACE.values()):
        assert value(settings, path) == expected, path
        assert value(before, path) != expected, path


def test_every_variable_of_the_table_leads_to_a_setting() -> None:
    assert INTERFACE.keys() <= VARIABLES.keys()
    for path, _ in VARIABLES.values():
        value(GPTSettings(), path)
    assert len({path for path, _ in VARIABLES.values()}) == len(VARIABLES)


def test_no_limits_and_nothing() -> None:
    settings = load_gpt_settings("gpt_jepa", overrides_of({"LOGIT_SOFTCAP": "0", "MAX_WALLCLOCK_SECONDS": "0"}))
    assert (settings.model.logit_softcap, settings.optimization.max_seconds) == (None, None)
    assert overrides_of({"SEED": "", "JEPA_LAMBDA": " "}) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("ITERATIONS", "1e3", "ITERATIONS='1e3' must be a whole number (optimization.max_steps)"),
        ("JEPA_LAMBDA", "high", "JEPA_LAMBDA='high' must be a number (jepa.weight)"),
        ("JEPA_LAMBDA", "-1", "JEPA_LAMBDA='-1': Input should be greater than or equal to 0 (jepa.weight)"),
        ("JEPA_LAMBDA", "nan", "JEPA_LAMBDA='nan'"),
        ("JEPA_FORM", "tube", "JEPA_FORM='tube': Input should be 'partition' or 'triple' (jepa.form)"),
        ("TIE_EMBEDDINGS", "maybe", "TIE_EMBEDDINGS='maybe' must be 1 or 0"),
        ("JEPA_LAMDA", "0.1", "JEPA_LAMDA: unknown variable; did you mean JEPA_LAMBDA?"),
        ("JEPA_XYZZY", "0.1", "JEPA_XYZZY: unknown variable; known: JEPA_LAMBDA"),
    ],
)
def test_mistakes_are_named(name: str, text: str, words: str) -> None:
    with pytest.raises(LangJepaError) as raised:
        overrides_of({name: text, "SEED": "x"})
    assert words in str(raised.value)
    assert "SEED='x'" in str(raised.value), "all mistakes in one message"
