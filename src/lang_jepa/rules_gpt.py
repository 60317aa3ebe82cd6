"""Which settings of a GPT fit together. Every message names the setting that mends it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lang_jepa.config_gpt import GPTSettings


def check(settings: "GPTSettings") -> None:
    """Raise ValueError for the first rule that is broken."""
    for rule in (_heads, _layers, _spans, _sizes):
        for complaint in rule(settings):
            raise ValueError(complaint)


def _heads(settings: "GPTSettings") -> Iterator[str]:
    model = settings.model
    if model.model_dim % model.num_heads:
        yield f"model.num_heads ({model.num_heads}) must divide model.model_dim ({model.model_dim})."
    if model.num_heads % model.num_kv_heads:
        yield f"model.num_kv_heads ({model.num_kv_heads}) must divide model.num_heads ({model.num_heads})."


def _layers(settings: "GPTSettings") -> Iterator[str]:
    model, last = settings.model, settings.model.num_layers - 1
    if len(model.loop_layers) != len(model.loop_starts):
        yield (
            f"model.loop_layers has {len(model.loop_layers)} entries and model.loop_starts {len(model.loop_starts)}: "
            "give each looped layer its start."
        )
    if len(set(model.loop_layers)) != len(model.loop_layers):
        yield f"model.loop_layers ({list(model.loop_layers)}) names a layer twice."
    if any(not 0 <= layer <= last for layer in model.loop_layers):
        yield (
            f"model.loop_layers ({list(model.loop_layers)}) must lie in 0 to {last}, since model.num_layers is "
            f"{model.num_layers}; set model.loop_layers=[] and model.loop_starts=[] for no loop."
        )
    if any(not 0 <= start <= 1 for start in model.loop_starts):
        yield f"model.loop_starts ({list(model.loop_starts)}) are fractions of training, 0 to 1."
    taps = {
        "jepa.layer": settings.jepa.layer,
        "evaluation.sentence_layer": settings.evaluation.sentence_layer,
    }
    for name, layer in taps.items():
        if layer > last:
            yield f"{name} ({layer}) must be -1 to {last}, since model.num_layers is {model.num_layers}."


def _spans(settings: "GPTSettings") -> Iterator[str]:
    jepa = settings.jepa
    if jepa.start_frac + jepa.ramp_frac > jepa.end_frac:
        yield (
            f"jepa.start_frac ({jepa.start_frac}) and jepa.ramp_frac ({jepa.ramp_frac}) reach beyond jepa.end_frac "
            f"({jepa.end_frac}): the full weight would never be reached."
        )


def _sizes(settings: "GPTSettings") -> Iterator[str]:
    data = settings.data
    if data.batch_tokens % data.seq_len:
        yield f"data.batch_tokens ({data.batch_tokens}) must be a multiple of data.seq_len ({data.seq_len})."
    micro = data.micro_batch_tokens
    if micro is not None and (micro % data.seq_len or data.batch_tokens % micro):
        yield (
            f"data.micro_batch_tokens ({micro}) must be a multiple of data.seq_len ({data.seq_len}) and divide "
            f"data.batch_tokens ({data.batch_tokens})."
        )
