"""Initial model and target. The head is whitened on a sample, because an un-whitened start collapses."""

import shutil
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import View
from lang_jepa.data.views.batch import Contexts
from lang_jepa.data.views.order import permuted
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import ridge_path
from lang_jepa.evaluation.metrics.similarity import Floats, Statistics, unit_rows
from lang_jepa.files.atomic import atomic_folder
from lang_jepa.inference.model_folder import (
    CARD,
    SETTINGS,
    build_jepa,
    find_model,
    load_model,
    predictor_for,
    read_card,
    why_no_model,
)
from lang_jepa.models.architecture import model_class, read_config, width_of
from lang_jepa.models.backbone import check_encoder
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.concept_transformer import RidgeTransformer
from lang_jepa.models.target import Target, target_of
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import read_settings
from lang_jepa.training.checkpoint import load_weights
from lang_jepa.training.held_out import sample_examples
from lang_jepa.training.text_size import LEAST_PER_DIMENSION

_PASS = 512  # sentences in one pass
_SHRINKAGE = 1e-3
_PENALTY = 10.0  # of a ridge regression with too few pairs to choose the penalty from
COPY = "start"
"""Folder in a run directory for a copy of the model named by meta.start_from, so that resuming needs nothing else."""


def with_own_start(settings: Settings, *runs: Path) -> Settings:
    """Return settings that start from the copy in the first of some run directories that has one; else unchanged.

    Args:
        settings: of a run that may have started from another run's weights.
        runs: the run directory, and others that it may be resumed from.
    """
    start, data, model = settings.meta.start_from, settings.data, settings.model
    copy = next((run / COPY for run in runs if (run / COPY / CARD).is_file()), None)
    if start is None or copy is None:
        return settings
    if tokenizer_is_of_start(settings):
        data = data.model_copy(update={"tokenizer_path": str(copy)})
    if model.pretrained:
        model = model.model_copy(update={"weights_path": str(copy)})
    meta = settings.meta.model_copy(update={"start_from": str(copy)})
    return settings.model_copy(update={"data": data, "model": model, "meta": meta})


def tokenizer_is_of_start(settings: Settings) -> bool:
    """Whether the tokenizer is that of the model from which the run started."""
    start = settings.meta.start_from
    return start is not None and Path(settings.data.tokenizer_path) in (Path(start), Path(start) / "model")


def as_resumed(settings: Settings) -> Settings:
    """Return `with_own_start` for a resumed run, and the settings unchanged for a new one."""
    meta = settings.meta
    if not meta.load_checkpoint:
        return settings
    origin = [] if meta.checkpoint_path is None else [Path(meta.checkpoint_path).parent]
    return with_own_start(settings, Path(settings.logging.log_dir), *origin)


def keep_start(settings: Settings) -> None:
    """Copy the model of meta.start_from, if set, into the run directory unless it is there already. Rank 0 only."""
    start, copy = settings.meta.start_from, Path(settings.logging.log_dir) / COPY
    if start is None or (copy / CARD).is_file():
        return
    source = _start_folder(start)
    with atomic_folder(copy) as temporary:
        for name in (CARD, *read_card(source / CARD, what="model card")["sha256"]):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, temporary / name)


def check_start(settings: Settings) -> None:
    """Refuse, before anything is prepared, an encoder or teacher that these settings cannot train with.

    Raises:
        LangJepaError: the initial model lies in the run directory or has another form, `check_encoder` refuses the
            encoder, or the teacher needs code of its own, returns no token states or has another width.
    """
    start = settings.meta.start_from
    if start is not None:
        own, folder = Path(settings.logging.log_dir).resolve(), _start_folder(start).resolve()
        if folder.is_relative_to(own) and not settings.meta.load_checkpoint:
            raise LangJepaError(
                f"{start} lies in the run directory {settings.logging.log_dir}, which a new run would move away: set "
                "another logging.log_dir"
            )
        _check_form(settings, start, folder)
    check_encoder(settings)
    teacher = settings.objective.teacher_path
    if teacher is not None and find_model(Path(teacher)) is None:
        config = read_config(teacher)
        model_class(config)
        _check_teacher(teacher, width_of(config), settings)


@torch.inference_mode()
def sample_embeddings(encoder: TextEncoder, view: View, count: int, *, seed: int, head: bool) -> Tensor:
    """Embed up to `count` sentences of a view in eval mode: [n, D], fp32, on the CPU, not normalised.

    Args:
        encoder: restored to its mode afterwards.
        view: where the sentences come from.
        count: maximum number of sentences.
        seed: of the draw.
        head: apply the head (False: return the pooled vectors before it).
    """
    device, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    available = view.split.num_sentences
    rows = permuted(np.arange(min(count, available)), available, seed=seed, epoch=0)
    rows = rows[np.argsort(view.split.lengths(rows), kind="stable")]
    parts = []
    for begin in range(0, len(rows), _PASS):
        sequences = view.sentences(rows[begin : begin + _PASS]).to(device)
        pooled = encoder.mean(sequences)
        parts.append((encoder.mapped(pooled) if head else pooled).float().cpu())
    encoder.train(training)
    return torch.cat(parts)


def start_model(settings: Settings, tokenizer: TextTokenizer, sample: View) -> Jepa:
    """Build the initial model: seeded, and with its head whitened if the settings ask for it.

    Args:
        settings: of the run.
        tokenizer: of the corpus.
        sample: training sentences for the whitening.
    """
    torch.manual_seed(settings.meta.seed)
    jepa = build_jepa(settings, tokenizer)
    if settings.meta.start_from is not None:
        _take_over(jepa, settings.meta.start_from, tokenizer)
    elif settings.model.head == "whitened":
        assert jepa.encoder.head is not None
        count, seed = settings.model.head_sample, settings.meta.seed
        pooled = sample_embeddings(jepa.encoder, sample, count, seed=seed, head=False)
        whiten_head(jepa.encoder.head, pooled, power=settings.model.whitening_power)
    if settings.model.freeze_encoder:
        jepa.encoder.requires_grad_(False)
    if isinstance(jepa.predictor, RidgeTransformer) and settings.meta.start_from is None:
        solve_predictor(jepa, jepa.predictor, settings, sample)
    return jepa.train()


def sample_pairs(
    jepa: Jepa, sample: View, settings: Settings, read: Callable[[Contexts], Tensor]
) -> tuple[Floats, Floats]:
    """Return what `read` makes of the contexts of model.score_sample training pairs, and the unit targets, both fp32.

    Args:
        jepa: in eval mode meanwhile, and restored to its mode afterwards.
        sample: training examples.
        settings: of the run.
        read: maps contexts to one row for each prediction.
    """
    device, training = next(jepa.parameters()).device, jepa.training
    jepa.eval()
    rows, targets = [], []
    examples = sample_examples(sample, settings.model.score_sample, settings.data.batch_size, seed=settings.meta.seed)
    for some in examples:
        batch = sample.batch(some).to(device)
        rows.append(read(batch.contexts).cpu().numpy())
        targets.append(functional.normalize(jepa.encoder.embed_targets(batch.targets).float(), dim=-1).cpu().numpy())
    jepa.train(training)
    return np.concatenate(rows), np.concatenate(targets)


@torch.inference_mode()
def solve_predictor(jepa: Jepa, predictor: RidgeTransformer, settings: Settings, sample: View) -> None:
    """Set a predictor's `linear` layer to the ridge regression of unit targets.

    The penalty is the one whose predictions have the largest cosine with the targets on every tenth group of eight
    pairs; with fewer than ten groups it is 10.

    Args:
        jepa: restored to its mode afterwards.
        predictor: the predictor of `jepa`.
        settings: at most `model.score_sample` pairs are used.
        sample: training examples.
    """
    features, targets = sample_pairs(jepa, sample, settings, lambda given: predictor.features(jepa.read(given)[0]))
    penalty = _PENALTY
    if (asked := np.arange(len(features)) // 8 % 10 == 9).any():
        solved = ridge_path(features[~asked], targets[~asked])
        wanted = targets[asked]
        cosines = {level: float((unit_rows(ridge(features[asked])) * wanted).sum(1).mean()) for level, ridge in solved}
        penalty = max(cosines, key=cosines.__getitem__)
    if len(features) < 2:
        raise LangJepaError("model.predictor=ridge_transformer needs at least two training pairs: give more text")
    (_, ridge), *_ = ridge_path(features, targets, [penalty])
    predictor.linear.weight.copy_(torch.from_numpy(ridge.weights.T))
    predictor.linear.bias.copy_(torch.from_numpy(ridge.y_mean - ridge.x_mean @ ridge.weights))


def _start_folder(start: str) -> Path:
    folder = find_model(Path(start))
    if folder is None:
        raise LangJepaError(why_no_model(Path(start)) or f"meta.start_from={start}: there is no model of an encoder")
    return folder


_FORM = (
    "model.architecture", "model.embed_dim", "model.num_layers", "model.num_heads", "model.mlp_ratio",
    "model.max_length", "model.head", "model.predictor", "model.pred_dim", "model.predictor_layers",
    "model.predictor_heads", "data.view", "data.context", "data.window_size", "data.horizons", "data.speakers",
)  # fmt: skip
"""Settings that may determine the form of a model."""


def _check_form(settings: Settings, start: str, folder: Path) -> None:
    """Refuse an initial model that has other sizes or another predictor.

    Raises:
        LangJepaError: it has; the settings that differ are named.
    """
    theirs, tokenizer = read_settings(folder / SETTINGS), TextTokenizer.load(str(folder))
    whole = not (settings.model.pretrained or theirs.model.pretrained)
    if _form(settings, tokenizer, whole=whole) == _form(theirs, tokenizer, whole=whole):
        return
    different = []
    for name in _FORM:
        ours, other = map(attrgetter(name), (settings, theirs))
        if ours != other and (name != "model.head" or "none" in (ours, other)):
            different.append((f"{name}={other}", ours))
    if different:
        raise LangJepaError(
            f"the initial model {start} does not match these settings: it has "
            + ", ".join(f"{setting} (here {ours})" for setting, ours in different)
            + f". Use its settings ({' '.join(f'-o {setting}' for setting, _ in different)}), or start without "
            "its weights (no --from, meta.start_from=null)"
        )


def _form(settings: Settings, tokenizer: TextTokenizer, *, whole: bool) -> dict[str, tuple[int, ...]]:
    """Return a model's tensor shapes and numbers of heads; `whole`: include its encoder, otherwise loaded unchanged."""
    model = settings.model
    form = {name: tuple(tensor.shape) for name, tensor in predictor_for(settings).state_dict().items()}
    form["head"] = () if model.head == "none" else (model.embed_dim,)
    form["predictor_heads"] = (model.predictor_heads,)
    if whole:
        with torch.device("meta"):
            encoder = build_encoder(
                model,
                vocab_size=tokenizer.vocab_size,
                pad_id=tokenizer.pad_id,
                bos_id=tokenizer.bos_id,
                eos_id=tokenizer.eos_id,
            )
        form |= {f"encoder.{name}": tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        form["encoder_heads"] = (model.num_heads,)
    return form


def _take_over(jepa: Jepa, start: str, tokenizer: TextTokenizer) -> None:
    """Load the weights of a model directory into a model.

    Raises:
        LangJepaError: there is no model, or it has another tokenizer, other sizes or another predictor.
    """
    folder = _start_folder(start)
    loaded, theirs, *_ = load_model(folder)
    if _ids(theirs) != _ids(tokenizer):
        raise LangJepaError(f"{start} uses a different tokenizer from the corpus: set data.tokenizer_path={folder}")
    load_weights(jepa, loaded.state_dict(), what=f"the model in {folder}")


def start_target(settings: Settings, jepa: Jepa, tokenizer: TextTokenizer) -> Target:
    """Build the initial target, which makes the targets.

    Raises:
        LangJepaError: the teacher cannot be read, or does not fit the corpus' tokenizer or the model's width.
    """
    encoder, teacher = jepa.encoder, settings.objective.teacher_path
    if teacher is not None:
        encoder = _load_teacher(teacher, settings, tokenizer).to(next(jepa.parameters()).device)
    return target_of(settings).of(settings, encoder)


def _load_teacher(path: str, settings: Settings, tokenizer: TextTokenizer) -> TextEncoder:
    """Load the encoder of one of our model directories with its head, or a pretrained encoder without one."""
    folder = find_model(Path(path))
    if folder is not None:
        jepa, theirs, *_ = load_model(folder)
        teacher = jepa.encoder
    else:
        theirs = TextTokenizer.load(path)
        quiet = {"dropout": 0.0, "attention_dropout": 0.0}  # it is never trained
        plain = settings.model.model_copy(update={"pretrained": True, "head": "none", **quiet})
        teacher = build_encoder(plain, vocab_size=tokenizer.vocab_size, weights=path)
    if _ids(theirs) != _ids(tokenizer):
        raise LangJepaError(
            f"the teacher {path} uses a different tokenizer from the corpus: set data.tokenizer_path={path}, or "
            "another objective.teacher_path"
        )
    _check_teacher(path, teacher.dim, settings)
    return teacher


def _check_teacher(path: str, width: int, settings: Settings) -> None:
    if width != settings.model.embed_dim:
        raise LangJepaError(f"the teacher {path} has width {width}, but model.embed_dim is {settings.model.embed_dim}")


def _ids(tokenizer: TextTokenizer) -> tuple[object, ...]:
    """Return what must be equal for one tokenizer to read what another wrote."""
    return tokenizer.backend.get_vocab(with_added_tokens=True), tokenizer.prefix_ids, tokenizer.suffix_ids


def whiten_head(head: nn.Linear, pooled: Tensor, *, power: float = 0.5) -> None:
    """Set a head to the ZCA whitening of a sample: zero mean and, with power .5, unit covariance in every direction.

    A sample that is small for the width says nothing about most directions, and those it lacks would be amplified
    hundreds of times. Its covariance is therefore shrunk towards a multiple of the identity (see `_shrinkage`).

    Args:
        head: linear layer from [D] to [D].
        pooled: [N, D] vectors before the head.
        power: power of the inverse covariance; .25 evens out half of the spread between directions, 0 none of it.

    Raises:
        LangJepaError: fewer than two vectors.
    """
    if len(pooled) < 2:
        raise LangJepaError("whitening the head needs at least two training texts; raise model.head_sample")
    enough = len(pooled) >= LEAST_PER_DIMENSION * pooled.shape[1]
    statistics = Statistics.of(pooled.numpy(), shrinkage=_SHRINKAGE if enough else _shrinkage(pooled))
    matrix = _powered(torch.from_numpy(statistics.whitening), 2 * power)
    with torch.no_grad():
        head.weight.copy_(matrix)
        head.bias.copy_(-(torch.from_numpy(statistics.mean) @ matrix))


def _shrinkage(pooled: Tensor) -> float:
    """Return how much of a small sample's covariance S to replace by a multiple of the identity: OAS, the oracle
    approximating shrinkage for normal vectors (Chen, Wiesel, Eldar and Hero 2010, equation 23).
    """
    count, width = pooled.shape
    covariance = np.cov(pooled.double().numpy(), rowvar=False, bias=True)
    squared, trace = float(np.square(covariance).sum()), float(np.trace(covariance))  # tr(S S), tr(S)
    above = (1 - 2 / width) * squared + trace**2
    below = (count + 1 - 2 / width) * (squared - trace**2 / width)
    return min(1.0, above / below) if below > 0 else 1.0


def _powered(matrix: Tensor, exponent: float) -> Tensor:
    """Raise a symmetric positive [D, D] matrix to a power."""
    if exponent == 1:
        return matrix
    values, vectors = torch.linalg.eigh(matrix.double())
    powered: Tensor = (vectors * values**exponent) @ vectors.T
    return powered.to(matrix.dtype)
