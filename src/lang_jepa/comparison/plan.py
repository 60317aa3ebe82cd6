"""The plan of a comparison: variants, seeds, budget and tasks, validated before any training and saved to disk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from lang_jepa.comparison.budget import Budget, Measured, steps_for
from lang_jepa.comparison.kind import RunKind, flat, setting_differences
from lang_jepa.comparison.systems import ENCODERS, kind_named, kind_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import DEFAULT_BUDGET, check_data_dir
from lang_jepa.evaluation.tasks import Budget as Questions
from lang_jepa.files.atomic import read_json, write_json
from lang_jepa.settings.effect import TYPED, without_effect
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import build

FORMAT = 2
_BEFORE_KINDS = 1
"""Format of plans that do not name a kind: all runs were of encoders."""
FEWEST_VALIDATIONS, MOST_VALIDATIONS, STEPS_PER_VALIDATION = 5, 50, 100


@dataclass(frozen=True)
class Variant:
    """One recipe.

    Attributes:
        name: of the recipe, or of the YAML file without its suffix.
        settings: resolved; each run has its own seed, steps, folder and validations.
        measured: cost of a step, once measured.
    """

    name: str
    settings: Settings | GPTSettings
    measured: Measured | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that decides the result of a comparison.

    Attributes:
        variants: the first one is the baseline.
        seeds: of weights, data order and dropout; the same for every variant.
        budget: of each run.
        tasks: of the evaluation.
        data_dir: folder with stsb/ and sst2/, or None.
        questions: how much to evaluate.
        allow_different: compare even if precision, compilation or the like differ.
        kind: of all runs.
    """

    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    budget: Budget
    tasks: tuple[str, ...]
    data_dir: str | None = None
    questions: Questions = DEFAULT_BUDGET
    allow_different: bool = False
    kind: RunKind[Any] = ENCODERS

    @property
    def baseline(self) -> Variant:
        return self.variants[0]

    def variant(self, name: str) -> Variant:
        """Return the variant of that name, with its cost if already measured."""
        return next(one for one in self.variants if one.name == name)

    def steps(self, variant: Variant) -> int:
        """Optimizer steps of each run of a variant, once its cost is measured."""
        return steps_for(self.budget, self.variant(variant.name).measured)

    def validations(self) -> int:
        """Approximate number of validations in each run. The curves are drawn from them; they select nothing."""
        longest = max(self.steps(variant) for variant in self.variants)
        return min(MOST_VALIDATIONS, max(FEWEST_VALIDATIONS, -(-longest // STEPS_PER_VALIDATION)))

    def run_settings(self, variant: Variant, seed: int, folder: Path) -> Settings | GPTSettings:
        """Settings of one run in the comparison's folder."""
        steps = self.steps(variant)
        settings: Settings | GPTSettings = self.kind.for_run(
            variant.settings,
            seed=seed,
            steps=steps,
            validate_every=-(-steps // self.validations()),
            folder=run_folder(folder, variant.name, seed),
        )
        return settings

    def with_measured(self, name: str, measured: Measured) -> "Plan":
        """Return the plan with one variant's cost filled in."""
        filled = (replace(one, measured=measured) if one.name == name else one for one in self.variants)
        return replace(self, variants=tuple(filled))

    def to_json(self) -> dict[str, Any]:
        """Plain data for plan.json."""
        variants = [
            {
                "name": one.name,
                "settings": one.settings.model_dump(),
                "measured": asdict(one.measured) if one.measured else None,
            }
            for one in self.variants
        ]
        return {
            "format": FORMAT,
            "kind": self.kind.name,
            "variants": variants,
            "seeds": list(self.seeds),
            "budget": asdict(self.budget),
            "tasks": list(self.tasks),
            "data_dir": self.data_dir,
            "questions": asdict(self.questions),
            "allow_different": self.allow_different,
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any], *, where: str) -> "Plan":
        """Read what `to_json` returned.

        Raises:
            LangJepaError: this version does not know its format or its kind.
        """
        if tree.get("format") not in (FORMAT, _BEFORE_KINDS):
            raise LangJepaError(
                f"{where} has format {tree.get('format')}; this version reads formats {_BEFORE_KINDS} and {FORMAT}. "
                "Use the version that wrote it, or give another --output"
            )
        kind = ENCODERS if tree["format"] == _BEFORE_KINDS else kind_named(tree["kind"])
        variants = tuple(
            Variant(
                one["name"],
                build(kind.settings_type, one["settings"], where=where),
                Measured(**one["measured"]) if one["measured"] else None,
            )
            for one in tree["variants"]
        )
        return cls(
            variants,
            tuple(tree["seeds"]),
            Budget(**tree["budget"]),
            tuple(tree["tasks"]),
            tree["data_dir"],
            Questions(**tree["questions"]),
            tree["allow_different"],
            kind,
        )


def make_plan(
    recipes: Sequence[str],
    *,
    seeds: int,
    budget: Budget,
    overrides: Iterable[str] = (),
    tasks: str = "",
    data_dir: Path | None = None,
    questions: Questions | None = DEFAULT_BUDGET,
    vary: str = "",
) -> Plan:
    """Build a plan from what was asked for, and validate it.

    Args:
        recipes: built-in names or YAML files, the baseline first.
        seeds: runs per variant; their seeds count up from the baseline's meta.seed.
        budget: of each run.
        overrides: settings changed in all variants.
        tasks: of the evaluation, separated by commas (empty: what the baseline's data allows).
        data_dir: folder with stsb/ and sst2/.
        questions: how much to evaluate (None: the quick amount).
        vary: KEY=V1,V2,...: replaces the first recipe by one variant for each value, the baseline first.

    Raises:
        LangJepaError: fewer than two variants, a duplicate name, variants of different kinds, seeds below 1, unknown
            tasks, nothing held out, an override of a setting that a plan sets, or a duplicate value.
    """
    if len(recipes) < 2 and not vary:
        raise LangJepaError(
            "a comparison needs at least two variants: the baseline first, then what is compared with it; or one "
            "recipe with --vary KEY=V1,V2"
        )
    if seeds < 1:
        raise LangJepaError(f"--seeds {seeds}: at least one run per variant is needed, three for a verdict")
    kind, overrides = kind_of(recipes), tuple(overrides)
    _check_overrides(kind, overrides)
    variants = _variants(kind, recipes, overrides, vary)
    first = variants[0].settings.meta.seed
    chosen = tuple(name.strip() for name in tasks.split(",") if name.strip())
    unknown = [name for name in chosen if name not in kind.tasks]
    if unknown:
        raise LangJepaError(f"unknown task {', '.join(unknown)}: choose from {', '.join(kind.tasks)}")
    chosen = chosen or kind.usual_tasks(variants[0].settings)
    check_data_dir(chosen, data_dir, of_stories=False)
    return Plan(
        variants,
        tuple(range(first, first + seeds)),
        budget,
        chosen,
        str(data_dir) if data_dir else None,
        kind.quick if questions is None else questions,
        kind=kind,
    )


def _check_overrides(kind: RunKind[Any], overrides: Iterable[str]) -> None:
    """Refuse an override that would have no effect; the first seed may be chosen."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in kind.ours and key != "meta.seed":
            raise LangJepaError(
                f"-o {override}: a comparison sets {key} by itself (--seeds, --budget, --output); leave it out"
            )


def _variants(kind: RunKind[Any], recipes: Sequence[str], overrides: Sequence[str], vary: str) -> tuple[Variant, ...]:
    """Load and validate the variants: the recipes, the first of them varied if asked to."""
    changes = [*overrides, "optimization.max_steps=1"]  # replaced in each run; a stream must have a value
    varied = _varied(kind, recipes[0], changes, vary) if vary else ()
    named = (
        Variant(Path(one).stem if Path(one).suffix in {".yaml", ".yml"} else one, kind.load(one, (), changes))
        for one in (recipes[1:] if vary else recipes)
    )
    variants = (*varied, *named)
    names = [one.name for one in variants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LangJepaError(f"two variants are called '{twice[0]}': name the recipe files differently")
    for one in variants:
        kind.check(one.name, one.settings)
    for override in overrides:
        _check_effect(override, variants)
    return variants


def _check_effect(override: str, variants: Sequence[Variant]) -> None:
    """Refuse an override that has no effect in any variant; in some of them it may have none."""
    key = override.partition("=")[0].strip()
    complaints = [next(without_effect(one.settings, {key: TYPED}), None) for one in variants]
    if all(complaints):
        raise LangJepaError(f"-o {override}: {complaints[0]}")


def _varied(kind: RunKind[Any], recipe: str, changes: Sequence[str], vary: str) -> tuple[Variant, ...]:
    """Return one variant of a recipe for each value; its name, with "/" replaced, is also its folder's name."""
    key, values = parse_vary(vary)
    if key in kind.ours:
        raise LangJepaError(f"--vary {key}: a comparison sets it by itself (--seeds, --budget, --output)")
    variants: list[Variant] = []
    for value in values:
        change = f"{key}={value}"
        one = Variant(change.replace("/", "_"), kind.load(recipe, [change], changes))
        if flat(one.settings)[key] in [flat(other.settings)[key] for other in variants]:
            raise LangJepaError(f"--vary {vary}: {value} is given twice")
        variants.append(one)
    return tuple(variants)


def settle(plan: Plan, folder: Path) -> Plan:
    """Write the plan and return it, with the costs measured under a plan that the folder already holds.

    More seeds, and more or fewer variants against the same baseline, do not make it another plan: finished runs stay.

    Raises:
        LangJepaError: the folder holds another plan, or other things.
    """
    path = folder / "plan.json"
    if not path.is_file():
        if folder.is_dir() and any(entry.name != ".lock" for entry in folder.iterdir()):
            raise LangJepaError(f"{folder} holds other things: give a new or an empty folder with --output")
        write_json(path, plan.to_json())
        return plan
    stored = Plan.from_json(read_json(path, what="the plan"), where=str(path))
    differences = _differences(stored, plan)
    if differences:
        raise LangJepaError(
            f"{folder} holds another comparison:\n  " + "\n  ".join(differences) + "\nGive another --output, or the "
            "same arguments."
        )
    measured = {one.name: one.measured for one in stored.variants}
    variants = tuple(replace(one, measured=measured.get(one.name)) for one in plan.variants)
    settled = replace(plan, variants=variants)
    write_json(path, settled.to_json())
    return settled


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Return the directory of one run."""
    return folder / "runs" / name / f"seed{seed}"


def differing_settings(plan: Plan) -> dict[str, list[Any]]:
    """Settings in which the variants differ, with each variant's value; those that a plan sets are left out."""
    trees = [flat(one.settings) for one in plan.variants]
    keys = [key for key in dict.fromkeys(chain.from_iterable(trees)) if key not in plan.kind.ours]
    table = {key: [tree.get(key) for tree in trees] for key in keys}
    return {key: row for key, row in table.items() if any(value != row[0] for value in row)}


def _differences(stored: Plan, plan: Plan) -> list[str]:
    """Describe what differs between two plans, except what may: see `settle`, and the location of public data."""
    if stored.kind.name != plan.kind.name:
        return [f"runs: of {stored.kind.what} there, of {plan.kind.what} now"]
    if stored.baseline.name != plan.baseline.name:
        return [f"the baseline: {stored.baseline.name} there, {plan.baseline.name} now"]
    now = {one.name: one.settings for one in plan.variants}
    lines = [
        f"{one.name}, {line}"
        for one in stored.variants
        if one.name in now
        for line in setting_differences(one.settings, now[one.name])
    ]
    for name in ("budget", "tasks", "questions"):
        there, now = getattr(stored, name), getattr(plan, name)
        if there != now:
            lines.append(f"{name}: {there} there, {now} now")
    if plan.seeds[: len(stored.seeds)] != stored.seeds:
        lines.append(f"seeds: {list(stored.seeds)} there, {list(plan.seeds)} now (more may be added)")
    return lines


def refuse_different_settings(plan: Plan) -> list[str]:
    """List settings that put the variants on unequal terms, such as precision; refuse them unless the plan allows it.

    Raises:
        LangJepaError: there are some, and `allow_different` is off.
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


_OPEN, _CLOSE = "[{", "]}"


def parse_vary(text: str) -> tuple[str, list[str]]:
    """Return the setting, and its values as written.

    >>> parse_vary("jepa.weight=0,0.01")
    ('jepa.weight', ['0', '0.01'])
    >>> parse_vary("model.loop_layers=[],[1,2]")
    ('model.loop_layers', ['[]', '[1,2]'])

    Raises:
        LangJepaError: the text has another form, or fewer than two values.
    """
    key, separator, values = text.partition("=")
    found = [value.strip() for value in _split(values)]
    if not separator or "." not in key or len(found) < 2 or not all(found):
        raise LangJepaError(
            f"--vary '{text}' is not understood: give a setting and two values or more, the baseline's first, such as "
            "jepa.weight=0,0.01,0.05"
        )
    return key.strip(), found


def _split(values: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in values:
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
