"""Build the report of finished runs: scores beside their baselines, verdicts, curves, what was equal, and alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.comparison.figure import Curve, equal_budgets, mean_and_std, numeric_series, read_curve
from lang_jepa.comparison.jobs import EVALUATED, INFO, VALUES
from lang_jepa.comparison.kind import ENVIRONMENT, INFO_LABELS, StartInfo, read_start
from lang_jepa.comparison.plan import Plan, differing_settings, refuse_different_settings, run_folder
from lang_jepa.comparison.verdict import LEAST_SEEDS, Metric, Side, Verdict, verdicts
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.conclusions import MODEL_NAME
from lang_jepa.evaluation.table import Report, Row, is_headline, read_report
from lang_jepa.files.atomic import read_json

FORMAT = 1
_NO_RIVALS = (MODEL_NAME, "chance", "oracle")
"""Rows that are not baselines to beat: the model itself, a lower bound and an upper bound."""

Scores = dict[Metric, dict[tuple[str, str], list[float]]]


def outcome(plan: Plan, folder: Path) -> dict[str, Any]:
    """Return the report of a comparison whose runs are all finished, as plain data.

    Args:
        plan: with costs measured.
        folder: of the comparison.
    """
    kind, settings = plan.kind, plan.baseline.settings
    flops = {one.name: one.measured.flops for one in plan.variants if one.measured}  # all are
    curves = {
        one.name: [
            read_curve(
                run_folder(folder, one.name, seed) / "metrics.csv",
                flops_per_step=flops[one.name],
                columns=kind.columns(settings),
            )
            for seed in plan.seeds
        ]
        for one in plan.variants
    }
    info = _each(plan, folder, lambda path: read_start(path / INFO, kind))
    cards = _each(plan, folder, _card)
    sides = {one.name: _sides(plan, folder, one.name, cards) for one in plan.variants}
    rivals = {name: each for name, each in sides.items() if name != plan.baseline.name}
    judged = verdicts(sides[plan.baseline.name], rivals)
    return {
        "format": FORMAT,
        "kind": kind.name,
        "baseline": plan.baseline.name,
        "variants": [
            {
                "name": one.name,
                "steps": plan.steps(one),
                "seconds": float(np.mean([curve.axes["seconds"][-1] for curve in curves[one.name]])),
                "flops": flops[one.name] * plan.steps(one),
                "parameters": info[one.name][0]["parameters"],
                "measured": asdict(one.measured) if one.measured else None,
            }
            for one in plan.variants
        ],
        "seeds": list(plan.seeds),
        "budget": str(plan.budget),
        "validations": plan.validations(),
        "tasks": list(plan.tasks),
        "rules": {"least_seeds": LEAST_SEEDS, "correction": "Holm", "comparisons": len(judged)},
        "settings_that_differ": differing_settings(plan),
        "allowed_differences": refuse_different_settings(plan),
        "equal": _equal(plan, info),
        "verdicts": [_verdict(one) for one in judged],
        "scores": scores_of(cards),
        "alarms": _alarms(plan, folder),
        "notes": _notes(plan, curves),
        "points": _points(sides),
        "series": numeric_series(plan),
        "panels": [asdict(panel) for panel in kind.panels(settings)],
        "equal_budgets": equal_budgets(curves, kind.headlines(settings)),
        "curves": {name: [one.to_json() for one in runs] for name, runs in curves.items()},
    }


def _each(plan: Plan, folder: Path, read: Any) -> dict[str, list[Any]]:
    """Return what `read` makes of every run's directory, by variant, in the order of the seeds."""
    return {one.name: [read(run_folder(folder, one.name, seed)) for seed in plan.seeds] for one in plan.variants}


def _card(run: Path) -> Report:
    """The scores of a run as this comparison measured them.

    Raises:
        LangJepaError: they are not in the form in which this version writes them.
    """
    note: object = read_json(run / EVALUATED, what="the note of a run's evaluation")
    name = note.get("scores") if isinstance(note, dict) else None
    cure = f"delete {run / EVALUATED}, and the same command scores this run again"
    if not isinstance(name, str):
        raise LangJepaError(f"{run / EVALUATED} does not say where the scores are, as this version writes it: {cure}")
    return read_report(run / name, cure)


def _sides(plan: Plan, folder: Path, name: str, cards: Mapping[str, Sequence[Report]]) -> dict[Metric, Side]:
    """The model's scores for all seeds in each metric, with the values per question if they were saved."""
    details = [dict(np.load(run_folder(folder, name, seed) / VALUES, allow_pickle=False)) for seed in plan.seeds]
    scores = [{_metric(row): row.value for row in _headlines(card)} for card in cards[name]]
    found = {}
    for metric in (_metric(row) for row in _headlines(cards[name][0]) if row.judged):
        if any(metric not in each for each in scores):
            raise LangJepaError(
                f"a run of {name} has no score for {metric}: evaluate it again (remove its evaluated.json)"
            )
        points = [each[metric] for each in scores]
        if not np.isfinite(points).all():
            raise LangJepaError(
                f"a run of {name} has a score that is not a number in {metric}: it has diverged. Check its metrics.csv "
                "and compare again without it or with a lower learning rate"
            )
        found[metric] = _side(metric, points, details)
    return found


def _points(sides: Mapping[str, Mapping[Metric, Side]]) -> list[dict[str, Any]]:
    """Each judged metric with the score of every run, by variant and in the order of the seeds."""
    metrics = dict.fromkeys(metric for each in sides.values() for metric in each)
    return [
        {
            **asdict(metric),
            "variants": {name: each[metric].points.tolist() for name, each in sides.items() if metric in each},
        }
        for metric in metrics
    ]


def _metric(row: Row) -> Metric:
    return Metric(row.task, row.split, row.metric)


def _headlines(card: Report) -> list[Row]:
    return [row for row in card.rows if row.name == MODEL_NAME and is_headline(row)]


def _side(metric: Metric, points: Sequence[float], details: Sequence[Mapping[str, Any]]) -> Side:
    """Values per question if every run was asked the same questions, otherwise the points alone."""
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
        first.get(f"{key}|sizes"),
    )


def scores_of(cards: Mapping[str, Sequence[Report]]) -> list[dict[str, Any]]:
    """Return all scores in every metric: those of the variants, and of each variant's baselines.

    Args:
        cards: by variant, the scores of each seed (scores.json).

    Returns:
        One entry per metric, with the mean and standard deviation over seeds of each scorer. A baseline that scores the
        same beside all variants with this metric is listed once, any other as `NAME of VARIANT`.
    """
    table: Scores = {}
    for variant, each in cards.items():
        metrics = set(map(_metric, _headlines(each[0])))
        for row in (row for card in each for row in card.rows if row.chosen and _metric(row) in metrics):
            table.setdefault(_metric(row), {}).setdefault((variant, row.name), []).append(row.value)
    alike = _alike(table)
    found = []
    for metric, scorers in table.items():
        named: dict[str, list[float]] = {}
        for (variant, name), values in scorers.items():
            shared = (metric.task, metric.split, name) in alike
            label = variant if name == MODEL_NAME else name if shared else f"{name} of {variant}"
            named.setdefault(label, values)
        means = {label: mean_and_std(values) for label, values in named.items()}
        found.append({**asdict(metric), "scorers": means})
    return found


def _alike(table: Scores) -> set[tuple[str, str, str]]:
    """(task, split, scorer) of baselines that score the same beside all variants asked, as chance and TF-IDF do.

    With a single variant they cannot be told from baselines that depend on it.
    """
    alike: dict[tuple[str, str, str], bool] = {}
    for metric, scorers in table.items():
        asked = {variant for variant, _ in scorers}
        for variant, name in scorers:
            key = (metric.task, metric.split, name)
            same = all(scorers.get((other, name)) == scorers[variant, name] for other in asked)
            alike[key] = alike.get(key, True) and same and len(asked) > 1
    return {key for key, same in alike.items() if same}


def best_rival(
    scorers: Mapping[str, Mapping[str, float]], variants: Sequence[str], *, lower: bool
) -> tuple[str, float]:
    """Return name and mean of the strongest scorer that is neither a variant nor a bound; if none, empty and NaN."""
    rivals = {
        name: one["mean"] for name, one in scorers.items() if name not in variants and not name.startswith(_NO_RIVALS)
    }
    if not rivals:
        return "", float("nan")
    name = (min if lower else max)(rivals, key=lambda key: rivals[key])
    return name, rivals[name]


def _verdict(one: Verdict) -> dict[str, Any]:
    return {**asdict(one), "failed": list(one.failed), "lower_is_better": one.metric.lower_is_better}


def _equal(plan: Plan, info: Mapping[str, Sequence[StartInfo]]) -> list[dict[str, Any]]:
    """For each thing that should be equal: whether it was, and its values."""
    rows = []
    for name in ENVIRONMENT:
        values = [str(one[name]) for runs in info.values() for one in runs]
        rows.append({"what": name, "equal": len(set(values)) == 1, "detail": ", ".join(dict.fromkeys(values))})
    baseline = info[plan.baseline.name]
    for variant in plan.variants[1:]:
        expected = plan.kind.expected_equal(variant.settings, plan.baseline.settings)
        for name in plan.kind.info:
            pairs = zip(info[variant.name], baseline, strict=True)
            equal = all(one[name] is not None and one[name] == other[name] for one, other in pairs)
            note = "asserted" if expected.get(name) else ("" if equal else "settings differ")
            rows.append({"what": f"{variant.name}: {INFO_LABELS[name]}", "equal": equal, "detail": note})
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
    """What was wrong with the runs; alarms of one kind in several runs of a variant are grouped."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in plan.variants:
        for seed in plan.seeds:
            alarms = plan.kind.alarms(run_folder(folder, one.name, seed), total=plan.steps(one))
            for kind, text in alarms.items():
                found.setdefault((one.name, kind), []).append({"seed": seed, "text": text})
    return [{"variant": name, "kind": kind, "runs": runs} for (name, kind), runs in found.items()]


def _notes(plan: Plan, curves: Mapping[str, Sequence[Curve]]) -> list[str]:
    """What a reader should keep in mind."""
    starts = {name: runs[0].axes["steps"] for name, runs in curves.items()}
    firsts = {name: float(steps[steps > 0][0]) for name, steps in starts.items() if (steps > 0).any()}
    notes = [
        *plan.kind.notes({one.name: one.settings for one in plan.variants}, firsts),
        "At equal steps, seconds and FLOPs the curves are compared where the cheapest run ended; the schedules of the "
        "others were not finished there.",
        "Seconds were measured on this machine and include whatever else ran on it.",
    ]
    if len(plan.seeds) < LEAST_SEEDS:
        notes.append(f"{len(plan.seeds)} seeds are too few for a verdict: {LEAST_SEEDS} at least.")
    return notes
