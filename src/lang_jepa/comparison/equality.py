"""What has to be equal between runs for a difference to mean anything, read off the runs themselves."""

from collections.abc import Mapping
from typing import Any

from lang_jepa.comparison.kind import Facts, RunKind
from lang_jepa.comparison.plan import Plan
from lang_jepa.comparison.trees import flat
from lang_jepa.errors import LangJepaError

ENVIRONMENT = ("torch", "python", "device", "threads", "precision", "compile", "processes")
"""Facts that must be the same in all runs, and in a run and its resumption."""
FACT_LABELS = {
    "corpus": "corpus (fingerprint)",
    "order": "order of the training data (first 16 batches), by seed",
    "backbone": "initial encoder weights, by seed",
    "encoder": "initial encoder weights with the head, by seed",
    "predictor": "initial predictor weights, by seed",
    "weights": "initial weights, by seed",
}
"""What a run starts with, by the names in facts.json, as the page calls it."""
_NAMES = {
    "corpus": "the corpus (was a source changed meanwhile?)",
    "order": "the order of the training data",
    "backbone": "the initial weights of the encoder",
    "encoder": "the initial weights of the encoder's head",
    "weights": "the initial weights",
}


def facts_of(kind: RunKind[Any], run: Any) -> Facts:
    """What a run starts with.

    Args:
        kind: of the run.
        run: stands at its first step.
    """
    import platform

    import torch

    return {
        **kind.facts_of(run),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": _device(run.fabric.device),
        "threads": torch.get_num_threads(),
        "processes": run.fabric.world_size,
    }


def _device(device: Any) -> str:
    import torch

    return f"{device.type}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device.type)


def refuse_different_settings(plan: Plan) -> list[str]:
    """Settings that differ though they are no idea to be compared, as lines; refused unless the plan allows it.

    Raises:
        LangJepaError: there are some and `allow_different` is off.
    """
    trees = {one.name: flat(one.settings) for one in plan.variants}
    first = trees[plan.baseline.name]
    lines = [
        f"{key}: {first[key]!r} in {plan.baseline.name}, {tree[key]!r} in {name}"
        for key in plan.kind.on_purpose
        for name, tree in trees.items()
        if tree[key] != first[key]
    ]
    if lines and not plan.allow_different:
        raise LangJepaError(
            "the variants would not be compared on equal terms:\n  " + "\n  ".join(lines) + "\nSet them equal with "
            "-o, or compare all the same with --allow-different, and the report will say so."
        )
    return lines


def check_environment(facts: Facts, others: Facts, *, what: str, allow: bool) -> None:
    """Refuse a run on other terms than another one.

    Raises:
        LangJepaError: threads, versions, device, precision or the like differ and that is not allowed.
    """
    lines = [f"{name}: {others[name]} there, {facts[name]} here" for name in ENVIRONMENT if facts[name] != others[name]]
    if lines and not allow:
        raise LangJepaError(
            f"{what} would not run on equal terms:\n  " + "\n  ".join(lines) + "\nRun it as the others were run, or "
            "allow it with --allow-different."
        )


def check_pair(facts: Facts, others: Facts, expected: Mapping[str, bool], *, what: str) -> None:
    """Refuse two runs of one seed that differ in what their settings say is equal.

    Raises:
        LangJepaError: names the fact.
    """
    for name, must in expected.items():
        if must and facts[name] != others[name]:
            raise LangJepaError(
                f"{what}: {_NAMES[name]} should be that of the baseline with the same seed but differs "
                f"({others[name]} there, {facts[name]} here), so the runs are not paired. Start again with a new "
                "--output."
            )
