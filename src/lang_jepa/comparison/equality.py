"""What has to be equal between runs for a difference to mean anything, read off the runs themselves."""

import hashlib
from collections.abc import Mapping
from itertools import islice
from typing import Any

from lang_jepa.comparison.plan import Plan, flat
from lang_jepa.config import Settings
from lang_jepa.errors import LangJepaError

Facts = dict[str, Any]

ON_PURPOSE = (
    "meta.device",
    "meta.use_bfloat16",
    "meta.compile",
    "meta.use_gradient_checkpointing",
    "logging.val_sentences",
    "logging.best_metric",
    "logging.best_mode",
)
"""Settings that change the numbers or their choice without being an idea: different only with --allow-different."""
ENVIRONMENT = ("torch", "python", "device", "threads", "precision", "compile", "processes")
"""Facts that must be the same in all runs, and in a run and its resumption."""
_DATA_FREE = frozenset({"data.corpus_dir", "data.prepare_workers", "data.num_workers"})
_CORPUS_FREE = _DATA_FREE | {
    "data.context",
    "data.window_size",
    "data.passage_size",
    "data.batch_size",
    "data.batch_tokens",
    "data.pool_batches",
    "data.view",
}
_ENCODER = tuple(
    f"model.{name}"
    for name in (
        "pretrained",
        "weights_path",
        "architecture",
        "embed_dim",
        "max_length",
        "num_layers",
        "num_heads",
        "mlp_ratio",
        "embedding_std",
        "residual_scale",
    )
)
_HEAD = ("model.head", "model.head_sample")
_BATCHES = 16


def facts_of(run: Any) -> Facts:
    """What a run starts with.

    Args:
        run: a `lang_jepa.training.run.Run` that stands at its first step.
    """
    import platform

    import torch

    encoder = run.jepa.encoder.state_dict()
    meta = run.settings.meta
    return {
        "corpus": run.material.fingerprint,
        "order": _order(run),
        "backbone": _digest({key: value for key, value in encoder.items() if not key.startswith("head.")}),
        "encoder": _digest(encoder),
        "predictor": _digest(run.jepa.predictor.state_dict()),
        "parameters": sum(parameter.numel() for parameter in run.jepa.parameters()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": _device(run.fabric.device),
        "threads": torch.get_num_threads(),
        "precision": "bf16 autocast" if meta.use_bfloat16 else "fp32",
        "compile": "on" if meta.compile else "off",
        "processes": run.fabric.world_size,
    }


def _device(device: Any) -> str:
    import torch

    return (
        f"{device.type}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device.type)
    )


def _order(run: Any) -> str | None:
    """Hash of the sentences that the first batches predict; None for a stream, whose reading would start anew."""
    if run.settings.data.streaming:
        return None
    batches = islice(iter(run.material.source()), _BATCHES)
    return _digest({str(number): batch.sentence_ids for number, batch in enumerate(batches)})


def _digest(tensors: Mapping[str, Any]) -> str:
    """16 hex digits of SHA-256 over names and bytes."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(_bytes()).numpy().tobytes())
    return total.hexdigest()[:16]


def _bytes() -> Any:
    import torch

    return torch.uint8


def refuse_different_settings(plan: Plan) -> list[str]:
    """Settings that differ though they are no idea to be compared, as lines; refused unless the plan allows it.

    Raises:
        LangJepaError: there are some and `allow_different` is off.
    """
    trees = {one.name: flat(one.settings) for one in plan.variants}
    first = trees[plan.baseline.name]
    lines = [
        f"{key}: {first[key]!r} in {plan.baseline.name}, {tree[key]!r} in {name}"
        for key in ON_PURPOSE
        for name, tree in trees.items()
        if tree[key] != first[key]
    ]
    if lines and not plan.allow_different:
        raise LangJepaError(
            "the variants would not be compared on equal terms:\n  "
            + "\n  ".join(lines)
            + "\nSet them equal with "
            "-o, or compare all the same with --allow-different, and the report will say so."
        )
    return lines


def check_environment(facts: Facts, others: Facts, *, what: str, allow: bool) -> None:
    """Refuse a run on other terms than another one.

    Raises:
        LangJepaError: threads, versions, device, precision or the like differ and that is not allowed.
    """
    lines = [
        f"{name}: {others[name]} there, {facts[name]} here"
        for name in ENVIRONMENT
        if facts[name] != others[name]
    ]
    if lines and not allow:
        raise LangJepaError(
            f"{what} would not run on equal terms:\n  "
            + "\n  ".join(lines)
            + "\nRun it as the others were run, or "
            "allow it with --allow-different."
        )


def expected_equal(one: Settings, other: Settings) -> dict[str, bool]:
    """Which facts of two runs of one seed their settings say must be equal."""
    first, second = flat(one), flat(other)

    def same(keys: Any) -> bool:
        return all(first[key] == second[key] for key in keys)

    data = [key for key in first if key.startswith("data.")]
    corpus = same(key for key in data if key not in _CORPUS_FREE)
    views = corpus and same(key for key in data if key not in _DATA_FREE)
    backbone = corpus and same(_ENCODER)
    return {
        "corpus": corpus,
        "order": views and same(("model.max_length",)),
        "backbone": backbone,
        "encoder": backbone and views and same(_HEAD),
    }


def check_pair(facts: Facts, others: Facts, expected: Mapping[str, bool], *, what: str) -> None:
    """Refuse two runs of one seed that differ in what their settings say is equal.

    Raises:
        LangJepaError: names the fact.
    """
    names = {
        "corpus": "the corpus (was a source changed meanwhile?)",
        "order": "the order of the training data",
        "backbone": "the initial weights of the encoder",
        "encoder": "the initial weights of the encoder's head",
    }
    for name, must in expected.items():
        if must and facts[name] != others[name]:
            raise LangJepaError(
                f"{what}: {names[name]} should be that of the baseline with the same seed but differs "
                f"({others[name]} there, {facts[name]} here), so the runs are not paired. Start again with a new "
                "--output."
            )
