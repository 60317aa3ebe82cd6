"""Explain mistakes in settings: what was probably meant, and how old names map to current ones."""

import difflib
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.addresses import without_secrets

_SAME = (
    "lr learning_rate matrix_lr base_lr peak_lr max_lr",
    "final_lr final_learning_rate min_lr end_lr",
    "epochs num_epochs num_train_epochs max_epochs n_epochs",
    "max_steps steps num_steps total_steps train_steps iterations max_iters",
    "warmup_steps warmup num_warmup_steps warmup_ratio warmup_epochs",
    "weight_decay wd",
    "clip_grad grad_clip max_grad_norm gradient_clip_val clip_grad_norm",
    "grad_accum_steps gradient_accumulation_steps accumulate_grad_batches accumulation_steps grad_accum",
    "loss_fn loss distance criterion",
    "momentum_start ema_decay muon_momentum momentum ema tau",
    "batch_size batch_tokens batch bs per_device_train_batch_size train_batch_size",
    "micro_batch_tokens micro_batch_size",
    "num_workers workers dataloader_num_workers",
    "train_file dataset dataset_name data_path train_path input path corpus documents",
    "text_column column text_field content_column",
    "group_column group_by conversation_id thread_id dialogue_id",
    "limit max_documents max_samples num_documents",
    "deduplicate dedup deduplication",
    "val_fraction eval_ratio val_split validation_split test_size val_ratio",
    "tokenizer_path tokenizer tokenizer_name",
    "weights_path encoder weights pretrained_path encoder_path model_name model_path model_name_or_path",
    "vocab_size vocab vocabulary_size",
    "window_size context_size window context_sentences",
    "streaming stream",
    "shuffle_buffer buffer_size shuffle_buffer_size",
    "splitter sentence_splitter",
    "dropout dropout_rate dropout_p dropout_prob hidden_dropout_prob",
    "attention_dropout attn_dropout attention_probs_dropout_prob",
    "embed_dim hidden_dim model_dim hidden_size d_model n_embd dim width embedding_dim",
    "num_layers layers depth n_layers n_layer num_hidden_layers",
    "num_heads heads n_heads n_head num_attention_heads",
    "mlp_ratio mlp_mult ffn_ratio",
    "max_length seq_len max_seq_length max_seq_len block_size context_length",
    "architecture arch model_type",
    "teacher_path teacher",
    "regularizer reg regularization",
    "regularizer_weight reg_weight weight lambda jepa_lambda",
    "log_dir output_dir out_dir output run_dir save_dir logdir",
    "log_freq log_steps log_every logging_steps log_interval",
    "eval_freq eval_steps val_every eval_every eval_interval val_interval",
    "checkpoint_steps save_steps checkpoint_every save_every save_freq",
    "log_to_wandb wandb use_wandb",
    "log_to_tensorboard tensorboard tb",
    "seed random_seed random_state",
    "device accelerator",
    "precision use_bfloat16 bf16 bfloat16 dtype mixed_precision",
    "strategy parallelism sharding distributed_strategy",
    "load_checkpoint resume",
    "checkpoint_path resume_from_checkpoint ckpt_path",
    "use_gradient_checkpointing gradient_checkpointing",
    "compile torch_compile",
    "optimization training train optimizer optim trainer",
    "objective jepa losses",
    "decoder model network",
    "logging log logs",
    "data datasets dataset_config",
)
"""Names of the same meaning here and in other programs; the first one that the given settings have is suggested."""


def mistakes(kind: type[BaseModel], failure: ValidationError) -> list[str]:
    """One line for each mistake in a tree of settings; for an unknown setting it says what was probably meant."""
    return [line for error in failure.errors() for line in _explain(kind, error)]


def unknown_settings(kind: type[BaseModel], tree: Mapping[str, Any]) -> list[str]:
    """The settings of a tree that are unknown to its kind, as dotted paths."""
    paths = []
    for name, own in tree.items():
        group = section_of(kind, str(name))
        if name not in kind.model_fields:
            paths.append(str(name))
        elif group is not None and isinstance(own, Mapping):
            paths += [f"{name}.{key}" for key in own if key not in group.model_fields]
    return paths


def nearest(word: str, known: Iterable[str]) -> str:
    """A `did you mean` for a misspelt word, or an empty string."""
    close = _close(word, known)
    return f"; did you mean '{close}'?" if close else ""


def section_of(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The settings class of a section, or None if there is no section of that name."""
    field = kind.model_fields.get(name)
    found = field.annotation if field else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def is_text(kind: type[BaseModel], section: str, name: str) -> tuple[bool, bool]:
    """Whether a setting takes any text, and whether it also takes null."""
    annotation = _annotation(kind, *current_name(kind, f"{section}.{name}").split(".", 1))
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return str in kinds, type(None) in kinds


def takes_list(kind: type[BaseModel], section: str, name: str) -> bool:
    """Whether a setting is a list of strings."""
    return get_origin(_annotation(kind, section, name)) is tuple


def _annotation(kind: type[BaseModel], section: str, name: str) -> Any:
    """The type of a setting; None if there is no such setting."""
    group = section_of(kind, section)
    field = group.model_fields.get(name) if group else None
    return field.annotation if field else None


def _explain(kind: type[BaseModel], error: Any) -> list[str]:
    keys = [str(part) for part in error["loc"]]
    path = ".".join(keys)
    if error["type"] == "extra_forbidden":
        misspelt = _close(keys[0], kind.model_fields, cutoff=0.75)  # a whole section
        inside = len(keys) == 1 and isinstance(error["input"], Mapping) and not misspelt
        below = error["input"] if inside else {}
        unknown = [(*keys, str(key)) for key in below] or [tuple(keys)]
        return [f"{'.'.join(one)}: unknown setting{_meant(kind, *one)}" for one in unknown]
    message = str(error["msg"]).removeprefix("Value error, ")
    if not path:
        return [message]
    return [f"{path}: {message[0].lower() + message[1:]} (given: {without_secrets(repr(error['input']))[:200]})"]


def _meant(kind: type[BaseModel], *keys: str) -> str:
    """What an unknown setting was probably meant to be, or an empty string.

    Tries the same name in another section, then another word of the same meaning, then the closest spelling.
    """
    *above, name = keys
    group = section_of(kind, above[0]) if above else None
    if group is not None:  # the section exists: its own settings first
        own = _synonym(name, group.model_fields) or _close(name, group.model_fields, cutoff=0.75)
        if own:
            return f"; did you mean '{own}'?"
    every = {one: f"{place}.{one}" for place in kind.model_fields for one in _names(kind, place)}
    sections = [place for place in kind.model_fields if section_of(kind, place)]
    found = every.get(name) or every.get(_synonym(name, every))
    if not found and not above:
        found = _synonym(name, sections) or _close(name, kind.model_fields) or every.get(_close(name, every))
    elif not found and group is not None:
        found = every.get(_close(name, every, cutoff=0.75)) or _close(name, group.model_fields)
    elif not found:
        place = _synonym(above[0], sections) or _close(above[0], sections)
        inside = _close(name, _names(kind, place))
        found = f"{place}.{inside}" if inside else place
    return f"; did you mean '{found}'?" if found else ""


def _synonym(word: str, known: Iterable[str]) -> str:
    """The known word of the same meaning, or an empty string."""
    plain, there = word.lower().replace("-", "_"), set(known)
    groups = (group.split() for group in _SAME)
    return next((one for group in groups if plain in group for one in group if one in there), "")


def _close(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The known word of the closest spelling, or an empty string."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=cutoff)), "")


def _names(kind: type[BaseModel], section: str) -> list[str]:
    group = section_of(kind, section)
    return list(group.model_fields) if group else []


def current_name(kind: type[BaseModel], path: str) -> str:
    """The current name of a setting, given as `section.key`, in a kind of settings."""
    old: Mapping[str, str] = getattr(kind, "OLD_NAMES", {})
    return old.get(path, path)


def current_value(path: str, value: Any) -> Any:
    """Convert the value of a setting given by its old name: a former switch may now be a choice."""
    if path.endswith(".use_bfloat16") and isinstance(value, bool):
        return "bf16" if value else "fp32"
    return value


def with_current_names(kind: type[BaseModel], tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a tree of settings with old names replaced by current ones.

    Args:
        kind: of the settings.
        tree: sections of settings; not modified.
        where: where the tree comes from, for the message.

    Raises:
        LangJepaError: a setting is given under two names.
    """
    new = {name: dict(own) if isinstance(own, Mapping) else own for name, own in tree.items()}
    old: Mapping[str, str] = getattr(kind, "OLD_NAMES", {})
    for path, now in old.items():
        (section, key), (to, name) = path.split("."), now.split(".")
        if not isinstance(new.get(section), dict) or key not in new[section]:
            continue
        value = new[section].pop(key)
        if not new[section] and section not in kind.model_fields:
            del new[section]
        target = new.setdefault(to, {})
        if not isinstance(target, dict):
            continue  # not a section, which validation will report
        if name in target:
            raise LangJepaError(f"{where}: {path} and {now} are one setting; leave {path} out")
        target[name] = current_value(path, value)
    return new
