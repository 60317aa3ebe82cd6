"""Checks that refuse a run that cannot work before anything is prepared, moved or trained, in a single message."""

import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from lang_jepa.errors import LangJepaError, how_to_install
from lang_jepa.files.atomic import check_writable
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.run import FSDP, RunSettings

LAUNCHED = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that torchrun sets for each process."""
_EXTRAS = {"wandb": "wandb", "tensorboard": "tensorboard", "wtpsplit": "sat", "sentencepiece": "gpt"}
"""Modules, and the extra that installs each."""


def check_run(settings: RunSettings, complaints: Iterator[str], *, shards: bool) -> None:
    """Refuse a run that cannot work.

    Args:
        settings: of any system.
        complaints: the system's own complaints.
        shards: whether the system can shard its weights under meta.strategy=fsdp.

    Raises:
        LangJepaError: the run cannot work; all problems found are named.
    """
    meta, logging = settings.meta, settings.logging
    checkpoint = Path(meta.checkpoint_path) if meta.load_checkpoint and meta.checkpoint_path else None
    _refuse(
        _processes(os.environ),
        _device("meta.device", meta.device),
        _strategy(settings, shards),
        check_module("wandb", "logging.log_to_wandb") if logging.log_to_wandb else (),
        check_module("tensorboard", "logging.log_to_tensorboard") if logging.log_to_tensorboard else (),
        _folder("logging.log_dir", logging.log_dir),
        check_paths({"meta.checkpoint_path": checkpoint}),
        complaints,
    )


def check_trainer_run(settings: Settings) -> None:
    """Refuse a run of `LitJEPA` that cannot work; processes, device and logging are left to the Trainer.

    Raises:
        LangJepaError: the run cannot work; all problems found are named.
    """
    strategy = settings.meta.strategy
    given = f"meta.strategy={strategy}: with a Trainer, Trainer(strategy=...) decides, so leave it at auto"
    _refuse(
        check_splitter(settings),
        check_encoder_start(settings),
        check_objective(settings),
        iter([given] if strategy != "auto" else ()),
    )


def _refuse(*complaints: Iterator[str] | tuple[()]) -> None:
    found = [complaint for some in complaints for complaint in some]
    if len(found) == 1:
        raise LangJepaError(found[0])
    if found:
        raise LangJepaError("this run cannot work:\n  " + "\n  ".join(found))


def _processes(environment: Mapping[str, str]) -> Iterator[str]:
    """Complain if the variables that describe the processes are inconsistent."""
    number = {name: environment[name] for name in (*LAUNCHED[:4], "MASTER_PORT") if name in environment}
    if bad := [f"{name}={value!r}" for name, value in number.items() if not value.isdecimal()]:
        yield f"{', '.join(bad)}: these environment variables are numbers that torchrun sets. {_TORCHRUN}"
        return
    world = int(number.get("WORLD_SIZE", "1"))
    if "WORLD_SIZE" not in environment:
        if environment.get("RANK", "0") != "0":
            yield f"RANK is {environment['RANK']}, but WORLD_SIZE is not set. {_TORCHRUN}"
    elif world > 1 and (missing := [name for name in LAUNCHED if name not in environment]):
        yield f"WORLD_SIZE is {world}, but {', '.join(missing)} is not set. {_TORCHRUN}"
    elif world < 1 or world % (local := int(number.get("LOCAL_WORLD_SIZE", "1")) or world + 1):
        yield f"WORLD_SIZE={world} is not a multiple of LOCAL_WORLD_SIZE={number.get('LOCAL_WORLD_SIZE')}. {_TORCHRUN}"
    elif int(number.get("RANK", "0")) >= world or int(number.get("LOCAL_RANK", "0")) >= local:
        yield (
            f"RANK={number.get('RANK')} and LOCAL_RANK={number.get('LOCAL_RANK')} must be below WORLD_SIZE={world} and "
            f"LOCAL_WORLD_SIZE={local}. {_TORCHRUN}"
        )


_TORCHRUN = "Start several processes with torchrun --nproc-per-node=N (scripts/launch_encoder.sh N), one without these."


def _device(setting: str, device: str) -> Iterator[str]:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        yield f"{setting}=cuda, but torch finds no GPU here: set {setting}=cpu, or install torch for your GPU"
    elif device == "mps" and not torch.backends.mps.is_available():
        yield f"{setting}=mps, but torch finds no Apple GPU here: set {setting}=cpu"
    local, gpus = os.environ.get("LOCAL_WORLD_SIZE", "1"), torch.cuda.device_count()
    if device in ("auto", "cuda") and gpus and local.isdecimal() and int(local) > gpus:
        yield (
            f"{local} processes on this machine want a GPU each, and it has {gpus}: start {gpus}, or set {setting}=cpu"
        )


def _strategy(settings: RunSettings, shards: bool) -> Iterator[str]:
    """Complain if the run cannot use `meta.strategy`."""
    meta = settings.meta
    if meta.strategy == "auto":
        return
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield (
            f"meta.strategy={meta.strategy} is about several processes, and this is one: start several with torchrun "
            "--nproc-per-node=N (scripts/launch_encoder.sh N), or set meta.strategy=auto"
        )
    if meta.strategy == FSDP and not shards:
        yield f"system {settings.system} cannot share out its weights among processes: set meta.strategy=auto"
    if meta.strategy == FSDP and meta.compile != "none":
        yield "meta.compile has not been tried with meta.strategy=fsdp: set meta.compile=none"


def check_module(name: str, what: str) -> Iterator[str]:
    """Complain if a module of an extra is not installed."""
    if find_spec(name) is None:
        yield f"{what} needs {name}: {how_to_install(_EXTRAS[name])}"


def _folder(setting: str, folder: str) -> Iterator[str]:
    """Complain if the run directory, which only rank zero writes, is not writable."""
    if os.environ.get("RANK", "0") == "0":
        yield from _refusal(lambda: check_writable(Path(folder), folder=True), setting)


def _refusal(check: Callable[[], object], setting: str = "") -> Iterator[str]:
    """Complain, about a setting if one is named, with the message of the error that a check raises."""
    try:
        check()
    except LangJepaError as error:
        yield f"{setting}: {error}" if setting else str(error)


def check_paths(wanted: Mapping[str, Path | None]) -> Iterator[str]:
    """Complain about paths that do not exist."""
    for what, path in wanted.items():
        if path is not None and not path.exists():
            yield f"{what}: there is no {path}"


def check_names(wanted: Mapping[str, str | None]) -> Iterator[str]:
    """Complain about missing tokenizers and weights, given by hub name or path; only what must be a path is checked."""
    for setting, name in wanted.items():
        looks_like_path = name is not None and (name[:1] in ("/", ".", "~") or name.count("/") > 1)
        if name is not None and looks_like_path and not Path(name).expanduser().exists():
            yield f"{setting}: there is no {name}"


def check_encoder_start(settings: Settings) -> Iterator[str]:
    """Complain if the initial encoder or the teacher does not exist or is of a type that cannot be used."""
    from lang_jepa.training.start import check_start

    names = {
        "data.tokenizer_path": settings.data.tokenizer_path,
        "model.weights_path": settings.model.weights_path,
        "objective.teacher_path": settings.objective.teacher_path,
    }
    yield from list(check_names(names)) or _refusal(lambda: check_start(settings))


def check_objective(settings: Settings) -> Iterator[str]:
    """Complain about distance and regularizer, which may be user-defined classes."""
    from lang_jepa.objectives.objective import Objective

    yield from _refusal(lambda: Objective(settings))


def check_sharded(settings: Settings) -> Iterator[str]:
    """Complain about an encoder whose weights cannot be sharded."""
    from lang_jepa.inference.cache import reads_cached
    from lang_jepa.models.architecture import read_config
    from lang_jepa.models.backbone import family_of

    model = settings.model
    if model.pretrained:
        config = read_config(model.weights_path or settings.data.tokenizer_path)
        if not family_of(config).packed:
            yield (
                f"meta.strategy=fsdp needs an encoder that runs packed, and {config.model_type!r} runs padded: its "
                "processes would make different numbers of passes. Set meta.strategy=auto"
            )
    if reads_cached(settings):
        yield (
            "meta.strategy=fsdp does nothing for a frozen encoder (model.freeze_encoder), whose vectors one process "
            "computes once: set meta.strategy=auto"
        )


def check_splitter(settings: Settings) -> Iterator[str]:
    """Complain if the splitter is not installed."""
    if settings.data.splitter == "sat":
        yield from check_module("wtpsplit", "data.splitter=sat")


def check_best_metric(settings: Settings) -> Iterator[str]:
    """Complain if the best validation is to be selected by a metric that is not measured."""
    from lang_jepa.training.metrics import COLUMNS, OTHER_NAMES

    wanted = settings.logging.best_metric
    there = [name for name in COLUMNS if name.startswith("val/") and name not in OTHER_NAMES.values()]
    if not settings.objective.regularized:
        there.remove("val/regularizer")
    if wanted is not None and wanted not in there:
        yield f"logging.best_metric '{wanted}' is not measured; choose one of {', '.join(there)}"
