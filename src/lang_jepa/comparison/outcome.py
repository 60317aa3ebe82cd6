"""From finished runs to the report: scores beside their baselines, verdicts, curves, what was equal, and alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.comparison.curves import Curve, equal_budgets, mean_and_std, read_curve
from lang_jepa.comparison.equality import (
    ENVIRONMENT,
    Facts,
    expected_equal,
    refuse_different_settings,
)
from lang_jepa.comparison.plan import Plan, differing_settings, run_folder
from lang_jepa.comparison.resampling import Side
from lang_jepa.comparison.verdict import LEAST_SEEDS, Metric, Verdict, verdicts
from lang_jepa.comparison.worker import FACTS, VALUES
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.table import LEAD
from lang_jepa.files import read_json
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.task_alarm import EARLY, task_alarms

FORMAT = 1
_NO_RIVALS = ("model", "chance", "oracle")
"""Rows that are no baseline to be beaten: the model itself, a bound from below and one from above."""

Scores = dict[Metric, dict[tuple[str, str], list[float]]]


def outcome(plan: Plan, folder: Path) -> dict[str, Any]:
    """The report of a comparison whose runs are all finished, as plain data.

    Args:
        plan: with costs measured.
        folder: of the comparison.
    """
    best = plan.baseline.settings.logging.best_metric
    curves = {
        one.name: [
            read_curve(
                run_folder(folder, one.name, seed) / "metrics.csv",
                flops_per_step=_flops(plan, one.name),
                more=(best,),
            )
            for seed in plan.seeds
        ]
        for one in plan.variants
    }
    facts = _each(plan, folder, lambda path: read_json(path / FACTS, what="the facts of a run's start"))
    cards = _each(plan, folder, lambda path: read_json(path / "scores.json", what="the scores of a run"))
    sides = {one.name: _sides(plan, folder, one.name, cards) for one in plan.variants}
    rivals = {name: each for name, each in sides.items() if name != plan.baseline.name}
    judged = verdicts(sides[plan.baseline.name], rivals)
    names = list(dict.fromkeys([best, "val/retrieval/mrr", "val/loss"]))
    return {
        "format": FORMAT,
        "baseline": plan.baseline.name,
        "variants": _costs(plan, facts, curves),
        "seeds": list(plan.seeds),
        "budget": str(plan.budget),
        "looks": plan.looks(),
        "tasks": list(plan.tasks),
        "rules": {"least_seeds": LEAST_SEEDS, "correction": "Holm", "comparisons": len(judged)},
        "settings_that_differ": differing_settings(plan),
        "allowed_differences": refuse_different_settings(plan),
        "equal": _equal(plan, facts),
        "verdicts": [_verdict(one) for one in judged],
        "scores": _scores(plan, cards),
        "alarms": _alarms(plan, folder),
        "notes": _notes(plan, curves),
        "equal_budgets": equal_budgets(curves, names),
        "curves": {name: [one.to_json() for one in runs] for name, runs in curves.items()},
    }


def _each(plan: Plan, folder: Path, read: Any) -> dict[str, list[Any]]:
    """Something of every run, by variant, in the order of the seeds."""
    return {
        one.name: [read(run_folder(folder, one.name, seed)) for seed in plan.seeds] for one in plan.variants
    }


def _flops(plan: Plan, name: str) -> float:
    measured = next(one.measured for one in plan.variants if one.name == name)
    assert measured is not None
    return measured.flops


def _costs(
    plan: Plan, facts: Mapping[str, Sequence[Facts]], curves: Mapping[str, Sequence[Curve]]
) -> list[Any]:
    """What each variant cost per run."""
    return [
        {
            "name": one.name,
            "steps": plan.steps(one),
            "seconds": float(np.mean([curve.axes["seconds"][-1] for curve in curves[one.name]])),
            "flops": _flops(plan, one.name) * plan.steps(one),
            "parameters": facts[one.name][0]["parameters"],
            "measured": asdict(one.measured) if one.measured else None,
        }
        for one in plan.variants
    ]


def _sides(plan: Plan, folder: Path, name: str, cards: Mapping[str, Sequence[Any]]) -> dict[Metric, Side]:
    """The model's scores of all seeds in each metric, with the values per question where they were kept."""
    details = [
        dict(np.load(run_folder(folder, name, seed) / VALUES, allow_pickle=False)) for seed in plan.seeds
    ]
    found = {}
    for metric in _metrics(cards[name][0]):
        points = [_point(card, metric, name) for card in cards[name]]
        found[metric] = _side(metric, points, details)
    return found


def _metrics(card: Mapping[str, Any]) -> list[Metric]:
    """Metrics of the examined model, as in its headline."""
    keys = ((row["task"], row["split"], row["metric"], row) for row in card["rows"])
    return [
        Metric(task, split, metric)
        for task, split, metric, row in keys
        if row["name"] == "model" and row["chosen"] and metric != "recall@5" and not metric.endswith(LEAD)
    ]


def _point(card: Mapping[str, Any], metric: Metric, name: str) -> float:
    for row in card["rows"]:
        where = (row["task"], row["split"], row["metric"], row["name"], row["chosen"])
        if where == (metric.task, metric.split, metric.name, "model", True):
            return float(row["value"])
    raise LangJepaError(
        f"a run of {name} has no score for {metric}: evaluate it again (remove its evaluated.json)"
    )


def _side(metric: Metric, points: Sequence[float], details: Sequence[Mapping[str, Any]]) -> Side:
    """Values per question where every run answered the same questions; else the points alone."""
    key = f"{metric.task}|{metric.split}|{metric.name}"
    items = {str(one[f"{key}|items"]) for one in details if f"{key}|items" in one}
    if len(items) != 1 or any(f"{key}|values" not in one for one in details):
        return Side(np.asarray(points, dtype=np.float64))
    first = details[0]
    return Side.of(
        [one[f"{key}|values"] for one in details],
        first[f"{key}|clusters"],
        first.get(f"{key}|labels"),
        items.pop(),
    )


def _scores(plan: Plan, cards: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Everybody's score in every metric: the variants', and of each variant its baselines."""
    table: Scores = {}
    for variant, each in cards.items():
        metrics = set(_metrics(each[0]))
        for row in (row for card in each for row in card["rows"] if row["chosen"]):
            metric = Metric(row["task"], row["split"], row["metric"])
            if metric in metrics:
                scorers = table.setdefault(metric, {})
                scorers.setdefault((variant, row["name"]), []).append(row["value"])
    alike = _alike(table, [one.name for one in plan.variants])
    found = []
    for metric, scorers in table.items():
        named: dict[str, list[float]] = {}
        for (variant, name), values in scorers.items():
            shared = (metric.task, metric.split, name) in alike
            label = variant if name == "model" else name if shared else f"{name} of {variant}"
            named.setdefault(label, values)
        means = {label: mean_and_std(values) for label, values in named.items()}
        found.append({**asdict(metric), "scorers": means})
    return found


def _alike(table: Scores, variants: Sequence[str]) -> set[tuple[str, str, str]]:
    """(task, split, scorer) of those that score the same under all variants, as chance and TF-IDF do."""
    alike: dict[tuple[str, str, str], bool] = {}
    for metric, scorers in table.items():
        for variant, name in scorers:
            key = (metric.task, metric.split, name)
            same = all(scorers.get((other, name)) == scorers[variant, name] for other in variants)
            alike[key] = alike.get(key, True) and same
    return {key for key, same in alike.items() if same}


def best_rival(
    scorers: Mapping[str, Mapping[str, float]], variants: Sequence[str], *, lower: bool
) -> tuple[str, float]:
    """The strongest scorer that is no variant, no bound: its name and mean; empty and NaN where there is none."""
    rivals = {
        name: one["mean"]
        for name, one in scorers.items()
        if name not in variants and not name.startswith(_NO_RIVALS)
    }
    if not rivals:
        return "", float("nan")
    name = (min if lower else max)(rivals, key=lambda key: rivals[key])
    return name, rivals[name]


def _verdict(one: Verdict) -> dict[str, Any]:
    return {**asdict(one), "failed": list(one.failed), "lower_is_better": one.metric.lower_is_better}


def _equal(plan: Plan, facts: Mapping[str, Sequence[Facts]]) -> list[dict[str, Any]]:
    """For each fact, whether it was the same, and what it was."""
    rows = []
    for name in ENVIRONMENT:
        values = [str(one[name]) for runs in facts.values() for one in runs]
        rows.append(
            {"what": name, "equal": len(set(values)) == 1, "detail": ", ".join(dict.fromkeys(values))}
        )
    baseline = facts[plan.baseline.name]
    labels = {
        "corpus": "corpus (fingerprint)",
        "order": "order of the training data (first 16 batches), by seed",
        "backbone": "initial encoder weights, by seed",
        "encoder": "initial encoder weights with the head, by seed",
        "predictor": "initial predictor weights, by seed",
    }
    for variant in plan.variants[1:]:
        expected = expected_equal(variant.settings, plan.baseline.settings)
        for name, label in labels.items():
            pairs = zip(facts[variant.name], baseline, strict=True)
            equal = all(one[name] is not None and one[name] == other[name] for one, other in pairs)
            note = "asserted" if expected.get(name) else ("" if equal else "settings differ")
            rows.append({"what": f"{variant.name}: {label}", "equal": equal, "detail": note})
    steps = {one.name: plan.steps(one) for one in plan.variants}
    rows.append(
        {
            "what": "optimizer steps",
            "equal": len(set(steps.values())) == 1,
            "detail": ", ".join(f"{name} {count:,}" for name, count in steps.items()),
        }
    )
    return rows


def _alarms(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """What the collapse watch and the task alarm found, by run."""
    found = []
    for one in plan.variants:
        for seed in plan.seeds:
            path = run_folder(folder, one.name, seed)
            texts = read_json(path / "summary.json", what="the summary of a run")["alarms"][:1]
            rows = read_metrics(path / "metrics.csv")
            texts += [str(alarm) for alarm in task_alarms(rows, total=plan.steps(one))]
            found += [{"variant": one.name, "seed": seed, "text": text} for text in texts]
    return found


def _notes(plan: Plan, curves: Mapping[str, Sequence[Curve]]) -> list[str]:
    """What a reader has to keep in mind."""
    notes = [
        "Scores are those of each run's best look (logging.best_metric); every variant had the same number of looks.",
        "At equal steps, seconds and FLOPs the curves are read where the cheapest run ended: the schedules of the "
        "others were not finished there.",
        "Seconds are those of this machine while it did this; whatever else ran on it is in them.",
    ]
    if len({one.settings.optimization.loss_fn for one in plan.variants}) > 1:
        notes.append(
            "The variants minimise different distances: their losses are not comparable, only shown."
        )
    if len(plan.seeds) < LEAST_SEEDS:
        notes.append(f"{len(plan.seeds)} seeds are too few for a verdict: {LEAST_SEEDS} at least.")
    for name, runs in curves.items():
        first = runs[0].axes["steps"][runs[0].axes["steps"] > 0]
        if len(first) and first[0] > EARLY:
            notes.append(
                f"{name} was first looked at at step {first[0]:.0f}: 'too easy' could not be judged."
            )
    return notes
