"""Find settings that have no effect beside others: choosing one is an error, leaving it at its default is not."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias

from lang_jepa.settings.parts import AXES

Chosen: TypeAlias = Mapping[str, int | None]
"""What was set, as `section.key`, and where: 0 in the user's file, lower in its bases, TYPED on the command line,
NOBODY if the program sets it. Settings that are not listed are defaults or come from a built-in recipe."""
TYPED, NOBODY = 1, None
_LOWEST = -1000

_STREAM = "a stream has no end and keeps nothing: leave it out, or set data.streaming=false"
_IDLE: tuple[tuple[str, str, Any, str], ...] = (
    ("data.limit", "data.streaming", True, f"{_STREAM}; the length of training is optimization.max_steps"),
    ("data.deduplicate", "data.streaming", True, _STREAM),
    ("data.near_duplicate_share", "data.streaming", True, _STREAM),
    ("data.shuffle_buffer", "data.streaming", False, "it belongs to data.streaming=true; leave it out"),
    ("data.near_duplicate_share", "data.deduplicate", "none", "it belongs to data.deduplicate=near"),
    ("data.near_duplicate_share", "data.deduplicate", "exact", "it belongs to data.deduplicate=near"),
    *(
        (f"data.{name}", "data.units", units, "lines and turns are never cut into sentences; leave it out")
        for name in ("splitter", "language", "max_sentence_chars")
        for units in ("lines", "turns")
    ),
    *(
        (f"data.{name}", "data.units", units, "only turns have speakers; leave it out, or set data.units=turns")
        for name in ("speakers", "speaker_column")
        for units in ("sentences", "lines")
    ),
    *(
        (f"data.{name}", "data.units", units, "it is for data.units=lines; leave it out")
        for name in ("mask", "mask_patterns", "records", "session", "val_split")
        for units in ("sentences", "turns")
    ),
    ("data.mask_patterns", "data.mask", False, "it belongs to data.mask=true"),
    ("data.speaker_column", "data.group_column", None, "it belongs to data.group_column"),
    ("data.join_rows", "data.units", "turns", "each row is a conversation; leave it out"),
    ("data.splitter_device", "data.splitter", "rules", "it belongs to data.splitter=sat"),
    ("model.weights_path", "model.pretrained", False, "it belongs to model.pretrained=true"),
)
"""(setting, other setting, value of the other that makes it ineffective, reason and what to do)."""


_NEEDS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("data.vocab_size", "data.tokenizer_path", ("trained",)),
    *(
        (f"model.{name}", "model.pretrained", (False,))
        for name in ("architecture", "num_layers", "num_heads", "mlp_ratio", "embedding_std", "residual_scale")
    ),
    ("model.head_sample", "model.head", ("whitened",)),
    ("model.whitening_power", "model.head", ("whitened",)),
    ("optimization.epochs", "optimization.max_steps", (None,)),
    ("optimization.warmup", "optimization.warmup_steps", (None,)),
    *(
        (f"optimization.{name}", "model.freeze_encoder", (False,))
        for name in ("embedding_lr_multiplier", "encoder_lr_multiplier", "predictor_warmup_steps")
    ),
)
"""(setting of an encoder's run, other setting, the only values of the other with which it has an effect)."""


def without_effect(settings: Any, chosen: Chosen) -> Iterator[str]:
    """Yield a complaint for each chosen setting that has no effect.

    For the second table, a setting that had an effect where it was chosen and lost it to an override is not an error.

    Args:
        settings: of any kind.
        chosen: what the user set, and where.
    """
    for setting, beside, value, why in _IDLE:
        if chosen.get(setting, NOBODY) is not NOBODY and _get(settings, beside) == value:
            yield f"{setting} has no effect beside {beside}={_shown(value)}: {why}"
    if _get(settings, "data.view") is None:  # of a decoder or a GPT
        return
    for setting, beside, values in chain(_NEEDS, _needs_of_parts(settings)):
        idle = _is_meant(chosen, setting, beside) and _get(settings, beside) not in values
        if idle and not _is_default(settings, setting):
            wanted = " or ".join(map(_shown, values))
            now = _shown(_get(settings, beside))
            yield f"{setting} has no effect beside {beside}={now}: it belongs to {beside}={wanted}; leave it out"
    for axis in AXES:
        name = axis.chosen(settings)
        for setting in chosen:
            of_own = setting.startswith(f"{axis.section}.") and ":" not in name
            if of_own and _is_meant(chosen, setting, axis.setting):
                yield (
                    f"{setting} has no effect beside {axis.setting}={name}: it belongs to a class of your own "
                    f"({axis.setting}=module:Class); leave it out"
                )


def _needs_of_parts(settings: Any) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Rows like those of `_NEEDS` for the settings that only some parts read, with the names of those parts."""
    for axis in AXES:
        parts = {name: part for name, part in axis.built_in.items() if part is not None}
        own = {name: axis.part(name) for name in [axis.chosen(settings)] if ":" in name}
        for setting in dict.fromkeys(chain.from_iterable(part.reads for part in parts.values())):
            yield (
                setting,
                axis.setting,
                tuple(name for name, part in (parts | own).items() if setting in part.reads),
            )


def _is_meant(chosen: Chosen, setting: str, beside: str) -> bool:
    """Whether a setting was chosen at the same level as the one beside it, or at a higher one."""
    level, other = chosen.get(setting, NOBODY), chosen.get(beside, _LOWEST)
    return level is not NOBODY and other is not NOBODY and level >= other


def _shown(value: Any) -> str:
    """Format a value as in YAML."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _is_default(settings: Any, path: str) -> bool:
    section, _, name = path.partition(".")
    fields = type(getattr(settings, section)).model_fields
    return bool(_get(settings, path) == fields[name].default)


def _get(settings: Any, path: str) -> Any:
    """The value of a setting, or None if this kind of settings lacks it."""
    section, _, name = path.partition(".")
    return getattr(getattr(settings, section, None), name, None)
