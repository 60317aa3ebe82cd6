"""Environment variables for a GPT's settings, under the names used by its public trainers.

An empty variable counts as not set. A value is read as the setting's type and as nothing else.
"""

import difflib
import json
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.words import section_of

PREFIX = "JEPA_"
"""Prefix of our own variables: an unknown variable with it is an error."""


def _flag(text: str) -> bool:
    found = {"1": True, "true": True, "0": False, "false": False}.get(text.lower())
    if found is None:
        raise ValueError(text)
    return found


def _limit(text: str) -> float | None:
    """Read a limit, where 0 means none."""
    return float(text) or None


def _run_folder(text: str) -> str:
    return f"runs/{text}"


Reader = Callable[[str], object]
_KINDS: dict[Reader, str] = {
    int: "a whole number",
    float: "a number",
    _flag: "1 or 0",
    str: "text",
    _limit: "a number (0: no limit)",
    _run_folder: "a name",
}
VARIABLES: dict[str, tuple[str, Reader]] = {
    "JEPA_LAMBDA": ("jepa.weight", float),
    "JEPA_FORM": ("jepa.form", str),
    "JEPA_MAX_SPAN_FRAC": ("jepa.max_span_frac", float),
    "JEPA_SPANS": ("jepa.spans", int),
    "JEPA_START_FRAC": ("jepa.start_frac", float),
    "JEPA_RAMP_FRAC": ("jepa.ramp_frac", float),
    "JEPA_END_FRAC": ("jepa.end_frac", float),
    "JEPA_LAYER": ("jepa.layer", int),
    "DATA_PATH": ("data.data_path", str),
    "TOKENIZER_PATH": ("data.tokenizer_path", str),
    "VOCAB_SIZE": ("data.vocab_size", int),
    "TRAIN_BATCH_TOKENS": ("data.batch_tokens", int),
    "TRAIN_SEQ_LEN": ("data.seq_len", int),
    "NUM_LAYERS": ("model.num_layers", int),
    "MODEL_DIM": ("model.model_dim", int),
    "NUM_HEADS": ("model.num_heads", int),
    "NUM_KV_HEADS": ("model.num_kv_heads", int),
    "MLP_MULT": ("model.mlp_mult", float),
    "TIE_EMBEDDINGS": ("model.tie_embeddings", _flag),
    "LOGIT_SOFTCAP": ("model.logit_softcap", _limit),
    "ROPE_BASE": ("model.rope_base", float),
    "QK_GAIN_INIT": ("model.qk_gain_init", float),
    "ITERATIONS": ("optimization.max_steps", int),
    "WARMUP_STEPS": ("optimization.warmup_steps", int),
    "WARMDOWN_ITERS": ("optimization.warmdown_steps", int),
    "MAX_WALLCLOCK_SECONDS": ("optimization.max_seconds", _limit),
    "MATRIX_LR": ("optimization.lr", float),
    "SCALAR_LR": ("optimization.scalar_lr", float),
    "TIED_EMBED_LR": ("optimization.embedding_lr", float),
    "HEAD_LR": ("optimization.head_lr", float),
    "MUON_MOMENTUM": ("optimization.muon_momentum", float),
    "VAL_LOSS_EVERY": ("logging.eval_freq", int),
    "TRAIN_LOG_EVERY": ("logging.log_freq", int),
    "RUN_ID": ("logging.log_dir", _run_folder),
    "SEED": ("meta.seed", int),
}
"""Setting of each variable, and how its value is read. RUN_ID is a folder in runs/."""


def overrides_of(environment: Mapping[str, str]) -> list[str]:
    """Return the settings given in the environment as `section.key=value` overrides, in the order of the table.

    Args:
        environment: all variables of the process; unrelated ones are ignored.

    Raises:
        LangJepaError: values are not of the setting's type, or unknown variables begin with JEPA_; all are listed in
            one message.
    """
    mistakes = [_unknown(name) for name in environment if name.startswith(PREFIX) and name not in VARIABLES]
    overrides = []
    for name, (setting, read) in VARIABLES.items():
        text = environment.get(name, "").strip()
        if not text:
            continue
        try:
            value = read(text)
            _check(setting, value)
        except ValidationError as error:
            mistakes.append(f"{name}={text!r}: {error.errors()[0]['msg']} ({setting})")
        except ValueError:
            mistakes.append(f"{name}={text!r} must be {_KINDS[read]} ({setting})")
        else:
            overrides.append(f"{setting}={json.dumps(value)}")
    if mistakes:
        raise LangJepaError("\n  ".join(["the environment has mistakes:", *mistakes]))
    return overrides


def _unknown(name: str) -> str:
    known = [one.removeprefix(PREFIX) for one in VARIABLES if one.startswith(PREFIX)]
    close = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.5)
    all_ = ", ".join(PREFIX + one for one in known)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else f"known: {all_}"
    return f"{name}: unknown variable; {hint}"


def _check(setting: str, value: object) -> None:
    """Raise ValidationError for a value that the setting does not accept."""
    section, key = setting.split(".")
    kind = section_of(GPTSettings, section)
    assert kind is not None
    kind.model_validate({key: value})
