"""Environment variables for a GPT's settings, under the names used by its public trainers.

An empty variable counts as not set. A value is read as the setting's type and as nothing else.
"""

import difflib
import json
from collections.abc import Callable, Mapping

from pydantic import BaseModel, ValidationError

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.gpt import GPTSettings

PREFIX = "JEPA_"
"""Prefix of our own variables: an unknown variable with it is an error."""


def _integer(text: str) -> int:
    return int(text)


def _number(text: str) -> float:
    return float(text)


def _flag(text: str) -> bool:
    found = {"1": True, "true": True, "0": False, "false": False}.get(text.lower())
    if found is None:
        raise ValueError(text)
    return found


def _text(text: str) -> str:
    return text


def _limit(text: str) -> float | None:
    """Read a limit, where 0 means none."""
    return float(text) or None


def _run_folder(text: str) -> str:
    return f"runs/{text}"


Reader = Callable[[str], object]
_KINDS: dict[Reader, str] = {
    _integer: "a whole number",
    _number: "a number",
    _flag: "1 or 0",
    _text: "text",
    _limit: "a number (0: no limit)",
    _run_folder: "a name",
}
VARIABLES: dict[str, tuple[str, Reader]] = {
    "JEPA_LAMBDA": ("jepa.weight", _number),
    "JEPA_FORM": ("jepa.form", _text),
    "JEPA_MAX_SPAN_FRAC": ("jepa.max_span_frac", _number),
    "JEPA_SPANS": ("jepa.spans", _integer),
    "JEPA_START_FRAC": ("jepa.start_frac", _number),
    "JEPA_RAMP_FRAC": ("jepa.ramp_frac", _number),
    "JEPA_END_FRAC": ("jepa.end_frac", _number),
    "JEPA_LAYER": ("jepa.layer", _integer),
    "DATA_PATH": ("data.data_path", _text),
    "TOKENIZER_PATH": ("data.tokenizer_path", _text),
    "VOCAB_SIZE": ("data.vocab_size", _integer),
    "TRAIN_BATCH_TOKENS": ("data.batch_tokens", _integer),
    "TRAIN_SEQ_LEN": ("data.seq_len", _integer),
    "NUM_LAYERS": ("model.num_layers", _integer),
    "MODEL_DIM": ("model.model_dim", _integer),
    "NUM_HEADS": ("model.num_heads", _integer),
    "NUM_KV_HEADS": ("model.num_kv_heads", _integer),
    "MLP_MULT": ("model.mlp_mult", _number),
    "TIE_EMBEDDINGS": ("model.tie_embeddings", _flag),
    "LOGIT_SOFTCAP": ("model.logit_softcap", _limit),
    "ROPE_BASE": ("model.rope_base", _number),
    "QK_GAIN_INIT": ("model.qk_gain_init", _number),
    "ITERATIONS": ("optimization.max_steps", _integer),
    "WARMUP_STEPS": ("optimization.warmup_steps", _integer),
    "WARMDOWN_ITERS": ("optimization.warmdown_steps", _integer),
    "MAX_WALLCLOCK_SECONDS": ("optimization.max_seconds", _limit),
    "MATRIX_LR": ("optimization.lr", _number),
    "SCALAR_LR": ("optimization.scalar_lr", _number),
    "TIED_EMBED_LR": ("optimization.embedding_lr", _number),
    "HEAD_LR": ("optimization.head_lr", _number),
    "MUON_MOMENTUM": ("optimization.muon_momentum", _number),
    "VAL_LOSS_EVERY": ("logging.eval_freq", _integer),
    "TRAIN_LOG_EVERY": ("logging.log_freq", _integer),
    "RUN_ID": ("logging.log_dir", _run_folder),
    "SEED": ("meta.seed", _integer),
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
    kind = GPTSettings.model_fields[section].annotation
    assert isinstance(kind, type)
    assert issubclass(kind, BaseModel)
    kind.model_validate({key: value})
