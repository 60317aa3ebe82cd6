"""What a comparison needs to know about the runs it compares, in a form that serves any system."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import QUICK, Budget
from lang_jepa.files.arrays import digest
from lang_jepa.files.atomic import read_json
from lang_jepa.settings.load import SAVED, build, load_run_settings, read_settings, settings_class
from lang_jepa.settings.run import RunSettings

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report
    from lang_jepa.training.engine import Engine

Chosen = TypeVar("Chosen", bound=RunSettings)
StartInfo = dict[str, Any]
"""What a run starts with, as in its facts.json."""
VALIDATION = "validation"
"""The task of systems without tasks of their own: the metrics of the last validation."""
ENVIRONMENT = ("torch", "python", "device", "threads", "precision", "compile", "processes")
"""What must be the same in all runs, and when a run is resumed."""
INFO_LABELS = {
    "corpus": "corpus (fingerprint)",
    "order": "order of the training data (first 16 batches), by seed",
    "backbone": "initial encoder weights, by seed",
    "encoder": "initial encoder weights with the head, by seed",
    "predictor": "initial predictor weights, by seed",
    "weights": "initial weights, by seed",
}
"""The page's labels for what a run starts with, by the names in facts.json."""
_NAMES = {
    "corpus": "the corpus (was a source changed meanwhile?)",
    "order": "the order of the training data",
    "backbone": "the initial weights of the encoder",
    "encoder": "the initial weights of the encoder's head",
    "weights": "the initial weights",
}
Tree = TypeVar("Tree", bound=BaseModel)


def flat(settings: BaseModel) -> dict[str, Any]:
    """Return settings as a dict with dotted keys."""
    found: dict[str, Any] = {}
    for section, value in settings.model_dump().items():
        if isinstance(value, dict):
            found |= {f"{section}.{key}": one for key, one in value.items()}
        else:
            found[section] = value
    return found


def changed(settings: Tree, **sections: Mapping[str, Any]) -> Tree:
    """Return settings with some values changed, validated again."""
    tree = settings.model_dump()
    for section, changes in sections.items():
        tree[section] |= changes
    return build(type(settings), tree, where="the comparison's plan")


def setting_differences(then: BaseModel, now: BaseModel, *, ignore: Iterable[str] = ()) -> list[str]:
    """Return a line for each difference between two settings of one kind."""
    one, other = flat(then), flat(now)
    left_out = set(ignore)
    return [
        f"{key}: {one.get(key)!r} there, {other.get(key)!r} now"
        for key in one | other
        if one.get(key) != other.get(key) and key not in left_out
    ]


@dataclass(frozen=True, slots=True)
class Panel:
    """One row of panels in the figure of the curves.

    Attributes:
        metric: column of metrics.csv.
        title: in words.
        from_zero: the axis begins at 0, so that small changes look small.
    """

    metric: str
    title: str
    from_zero: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How every finished run of a comparison is evaluated.

    Attributes:
        tasks: some of the kind's `tasks`.
        data_dir: folder with stsb/ and sst2/, or None.
        questions: how much to evaluate.
        shared: folder for results that are the same in several runs and are computed once.
        window: from the kind's `window`.
    """

    tasks: tuple[str, ...]
    data_dir: Path | None
    questions: Budget
    shared: Path
    window: int | None


class RunKind(Generic[Chosen]):
    """How runs of a system are set up, trained, checked against each other and scored.

    This class serves any system and compares the metrics of the last validation. Built-in systems add tasks that are
    evaluated afterwards.

    Args:
        system: its name, or the import path of its class.
        what: a name for it in messages, with an article.

    Attributes:
        ours: settings that a plan sets itself.
        on_purpose: settings that change what is measured without being an idea to compare: they may differ only with
            --allow-different.
        tasks: those that runs can be evaluated on.
        quick: how much --quick evaluates.
        info: what is compared with the baseline's run of the same seed, names of `INFO_LABELS`.
    """

    ours = frozenset(
        {
            "recipe",
            "meta.seed",
            "meta.load_checkpoint",
            "meta.checkpoint_path",
            "meta.on_collapse",
            "optimization.max_steps",
            "logging.log_dir",
            "logging.eval_freq",
            "logging.best_metric",
            "logging.best_mode",
        }
    )
    on_purpose: tuple[str, ...] = ("meta.device", "meta.precision", "meta.compile")
    tasks: tuple[str, ...] = (VALIDATION,)
    quick: Budget = QUICK
    info: tuple[str, ...] = ("corpus", "weights")

    def __init__(self, system: str, what: str) -> None:
        self.name, self.what = system, what

    @property
    def settings_type(self) -> type[Chosen]:
        return settings_class(self.name)  # type: ignore[return-value]

    def load(self, recipe: str, overrides: Iterable[str], shared: Iterable[str]) -> Chosen:
        """Load a recipe's settings; `shared`: overrides of all variants, which may have no effect in this one."""
        return load_run_settings(recipe, overrides, shared)  # type: ignore[return-value]

    def check(self, name: str, settings: Chosen) -> None:
        """Raise LangJepaError for a variant that cannot be compared."""

    def usual_tasks(self, settings: Chosen) -> tuple[str, ...]:
        """Tasks that are evaluated by default."""
        return self.tasks[:1]

    def for_run(self, settings: Chosen, *, seed: int, steps: int, validate_every: int, folder: Path) -> Chosen:
        """Return the settings of one run.

        The weights are those at the end of its schedule: a validation that selected them would do so on documents that
        are asked about afterwards, and in short runs by luck. A collapse is a result, and does not stop the run.
        """
        here: dict[str, dict[str, Any]] = {
            "meta": {"seed": seed, "load_checkpoint": False, "checkpoint_path": None, "on_collapse": "warn"},
            "optimization": {"max_steps": steps},
            "logging": {"log_dir": str(folder), "eval_freq": validate_every, "best_metric": None},
        }
        known = settings.model_dump()
        return changed(
            settings, **{name: {key: own[key] for key in own if key in known[name]} for name, own in here.items()}
        )

    def expected_equal(self, one: Chosen, other: Chosen) -> dict[str, bool]:
        """What must be equal in two runs of one seed, judging by their settings."""
        first, second = flat(one), flat(other)
        data = [key for key in first if key.startswith("data.")]
        return {"corpus": all(first[key] == second[key] for key in data)}

    def window(self, settings: Sequence[Chosen]) -> int | None:
        """Sentences of context in the questions, the same for all variants (None: nothing to choose)."""
        return None

    def columns(self, settings: Chosen) -> tuple[str, ...]:
        """Columns of metrics.csv that the curves show."""
        return self.headlines(settings)

    def headlines(self, settings: Chosen) -> tuple[str, ...]:
        """Columns that are compared at equal budgets."""
        metric, _ = judged_metric(settings)
        return () if metric is None else (metric,)

    def panels(self, settings: Chosen) -> tuple[Panel, ...]:
        return tuple(Panel(name, name) for name in self.headlines(settings))

    def alarms(self, folder: Path, *, total: int) -> dict[str, str]:
        """What was wrong with a finished run of `total` steps: kind of alarm to its description."""
        return {}

    def notes(self, settings: Mapping[str, Chosen], first_validations: Mapping[str, float]) -> list[str]:
        """What a reader should keep in mind.

        Args:
            settings: of the variants, by name, the baseline's first.
            first_validations: by variant, the step of its first validation after training began.
        """
        return ["Scores are those of the end of each run; no validation chooses among weights."]

    def check_tasks(self, settings: Mapping[str, Chosen], tasks: Sequence[str], data_dir: Path | None) -> None:
        """Refuse, before any training, tasks that would judge nothing or whose data is missing.

        Args:
            settings: of the variants, by name, the baseline's first.
            tasks: some of `tasks`.
            data_dir: folder with stsb/ and sst2/ (None: the hub).

        Raises:
            LangJepaError: with what to choose instead.
        """

    # The methods below run in a job's process, and import torch.

    def eager(self, settings: Chosen) -> Chosen:
        """Return the settings without torch.compile."""
        return changed(settings, meta={"compile": "none"})

    def start(self, settings: Chosen, scratch: Path, *, steps: int) -> "Engine":
        """Open a throw-away run that writes into `scratch` and is about to make its first step."""
        from lang_jepa.training.train import method_of, open_run, start

        logging = {"log_dir": str(scratch)}
        method = method_of(changed(settings, logging=logging, meta={"load_checkpoint": False}))
        return start(method, open_run(method), None)

    def start_info(self, engine: "Engine") -> StartInfo:
        """What a run about to make its first step starts with: `info`, `parameters`, `precision` and `compile`."""
        method, meta = engine.method, engine.settings.meta
        return {
            "corpus": method.identity,
            "weights": digest(method.network.state_dict()),
            "parameters": sum(parameter.numel() for parameter in method.network.parameters()),
            "precision": "fp32" if meta.precision == "fp32" else f"{meta.precision} autocast",
            "compile": "off" if meta.compile == "none" else meta.compile,
        }

    def evaluate(self, folder: Path, evaluation: Evaluation) -> "tuple[Report, Path]":
        """Score a finished run beside its baselines.

        Args:
            folder: of the run.
            evaluation: the same for all runs of a comparison.

        Returns:
            The report, and where it was written.
        """
        return last_validation(folder, self.settings_type)


def judged_metric(settings: RunSettings) -> tuple[str | None, str]:
    """Return the metric that judges a system without tasks of its own, and whether `min` or `max` is better: the one
    it selects its best checkpoint by, or else the held-out loss.
    """
    from lang_jepa.training.train import method_of

    method = method_of(settings)
    metric, mode = method.best()
    return (metric, mode) if metric or "val/loss" not in method.columns else ("val/loss", "min")


def last_validation(folder: Path, kind: type[RunSettings]) -> "tuple[Report, Path]":
    """Report the metrics of a run's last validation, of which only the `judged_metric` is judged."""
    from lang_jepa.evaluation.table import Report, Row

    metric, mode = judged_metric(read_settings(folder / SAVED, kind))
    better = f"{metric} (lower is better)" if mode == "min" else metric
    summary = read_json(folder / "summary.json", what="the summary of a run")
    measured = {name: value for name, value in (summary["last_validation"] or {}).items() if name.startswith("val/")}
    if not measured:
        raise LangJepaError(f"{folder} holds nothing out, so there is nothing to compare")
    rows = [
        Row(
            VALIDATION,
            "held out",
            better if better is not None and name == metric else name,
            "model",
            value,
            None,
            None,
            1,
            judged=name == metric,
        )
        for name, value in measured.items()
    ]
    report, path = Report(rows), folder / "scores.json"
    report.save(path)
    return report, path


def start_info(kind: RunKind[Any], run: Any) -> StartInfo:
    """What a run starts with, and its environment.

    Args:
        kind: of the run.
        run: about to make its first step.
    """
    import platform

    import torch

    return {
        **kind.start_info(run),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": _device(run.fabric.device),
        "threads": torch.get_num_threads(),
        "processes": run.fabric.world_size,
    }


def read_start(path: Path, kind: RunKind[Any]) -> StartInfo:
    """Read what a run started with, as `start_info` made it.

    Raises:
        LangJepaError: the file cannot be read, or lacks something that this version compares.
    """
    found: object = read_json(path, what="the note of a run's start")
    names = ("parameters", *ENVIRONMENT, *kind.info)
    lacking = [name for name in names if not isinstance(found, dict) or name not in found]
    if lacking:
        raise LangJepaError(
            f"{path} lacks {', '.join(dict.fromkeys(lacking))}, so another version wrote it: delete {path.parent}, and "
            "the same command trains this run again"
        )
    return cast("StartInfo", found)


def _device(device: Any) -> str:
    import torch

    return f"{device.type}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device.type)


def check_environment(info: StartInfo, others: StartInfo, *, what: str, allow: bool) -> None:
    """Refuse a run in another environment than that of an earlier one.

    Raises:
        LangJepaError: threads, versions, device, precision or the like differ, and that is not allowed.
    """
    lines = [f"{name}: {others[name]} there, {info[name]} here" for name in ENVIRONMENT if info[name] != others[name]]
    if lines and not allow:
        raise LangJepaError(
            f"{what} would not run on equal terms:\n  " + "\n  ".join(lines) + "\nRun it as the others were run, or "
            "allow it with --allow-different."
        )


def check_pair(info: StartInfo, others: StartInfo, expected: Mapping[str, bool], *, what: str) -> None:
    """Refuse two runs of one seed that differ in what their settings say is equal.

    Raises:
        LangJepaError: names what differs.
    """
    for name, must in expected.items():
        if must and info[name] != others[name]:
            raise LangJepaError(
                f"{what}: {_NAMES[name]} should be that of the baseline with the same seed but differs "
                f"({others[name]} there, {info[name]} here), so the runs are not paired. Start again with a new "
                "--output."
            )
