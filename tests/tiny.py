"""The smallest run that still has every part of a real one: a few dozen stories and an encoder of two layers."""

import os
import re
import signal
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.sources.source import open_source
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import load_decoder_settings, load_gpt_settings, load_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.metrics import TIMES, read_metrics
from lang_jepa.training.reporter import Silent
from lang_jepa.training.train import Result, resume_settings, train

TINY = (
    "data.limit=60",
    "data.vocab_size=600",
    "data.prepare_workers=1",
    "model.embed_dim=32",
    "model.pred_dim=32",
    "model.num_heads=2",
    "model.predictor_heads=2",
    "model.head_sample=64",
    "model.score_sample=256",
    "logging.log_freq=1",
)
"""What makes any recipe small."""
_BASE = (
    *TINY,
    "data.train_file=stories",
    "data.val_fraction=0.2",
    "data.batch_size=4",
    "model.architecture=bert",
    "objective.center_targets=false",
    "optimization.max_steps=6",
    "optimization.warmup_steps=2",
    "logging.val_sentences=64",
    "logging.eval_freq=3",
    "logging.checkpoint_steps=2",
)
MODES = {
    "concepts": ("model.dropout=0.1",),
    "window": (
        "data.context=window",
        "data.window_size=4",
        "data.batch_size=8",
        "model.predictor=attention_query",
        "optimization.grad_accum_steps=2",
        "objective.center_targets=true",
    ),
    "causal": (
        "data.context=causal",
        "data.batch_size=46",
        "data.window_size=6",
        "data.passage_size=6",
        "model.predictor=attention_query",
        "objective.regularizer=vicreg",
    ),
}
"""Overrides for each context mode; together they switch on what a checkpoint has to carry."""
VIEWS = {
    "masked": (
        "data.view=masked_sentences",
        "data.context=window",
        "data.passage_size=6",
        "data.target_context=in_context",
        "model.predictor=transformer",
        "model.max_length=160",
    ),
    "spans": (
        "data.view=spans",
        "data.context=window",
        "data.chunk_size=48",
        "model.predictor=linear",
        "objective.target=shared",
        "objective.target_gradient=true",
        "objective.regularizer=sigreg",
        "optimization.loss_fn=mse",
    ),
    "same": (
        "data.view=same_sentence",
        "data.context=window",
        "data.crop=0.6",
        "model.predictor=identity",
        "objective.target=shared",
        "objective.regularizer=sigreg",
    ),
}
"""Overrides for the views that are not of the next sentence."""


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="tiny-corpora-")


def corpora() -> str:
    """One folder of prepared corpora for the whole test process, removed at its end."""
    return _folder().name


def tiny_settings(run: Path, *overrides: str) -> Settings:
    """Settings of the tiny run in the folder `run`, with overrides on top."""
    places = (f"data.corpus_dir={corpora()}", f"logging.log_dir={run}")
    return load_settings("concepts", [*places, *overrides], usual=_BASE)


_DECODER = (
    "decoder.hidden_dim=32",
    "decoder.num_layers=1",
    "decoder.num_heads=2",
    "decoder.max_length=24",
    "data.batch_size=8",
    "optimization.lr=1e-2",
    "optimization.max_steps=6",
    "data.predicted_share=0",
    "logging.eval_freq=3",
    "logging.val_sentences=40",
    "logging.checkpoint_steps=2",
    "logging.num_examples=2",
    "logging.log_freq=1",
)


def tiny_decoder(run: Path, *overrides: str) -> DecoderSettings:
    """Settings of a tiny decoder in the folder `run`."""
    return load_decoder_settings("concept_decoder", [*_DECODER, f"logging.log_dir={run}", *overrides])


_GPT = (
    "data.limit=60",
    "data.vocab_size=600",
    "data.prepare_workers=1",
    "data.val_fraction=0.2",
    "data.seq_len=32",
    "data.batch_tokens=256",
    "model.num_layers=3",
    "model.model_dim=32",
    "model.num_heads=2",
    "model.num_kv_heads=1",
    "optimization.max_steps=6",
    "optimization.warmup_steps=2",
    "optimization.warmdown_steps=2",
    "logging.eval_freq=3",
    "evaluation.val_tokens=500",
    "evaluation.val_batch_tokens=256",
    "evaluation.span_sequences=9",
    "logging.num_examples=1",
    "evaluation.sample_tokens=8",
    "logging.log_freq=1",
    "logging.checkpoint_steps=2",
)


def tiny_gpt(run: Path, *overrides: str) -> GPTSettings:
    """Settings of a tiny GPT in the folder `run`, trained with the span loss."""
    places = (f"data.corpus_dir={corpora()}", f"logging.log_dir={run}")
    return load_gpt_settings("gpt_jepa", [*_GPT, *places, *overrides])


def tiny_encoder(run: Path) -> Path:
    """The run directory of an encoder that was trained for two steps on stories."""
    return train(tiny_settings(run, "optimization.max_steps=2")).folder


def noisy_model(settings: Settings, corpus: Corpus) -> ConceptModel:
    """A model with weights that are nowhere zero or one, so that nothing cancels by luck."""
    torch.manual_seed(3)
    jepa = build_jepa(settings, corpus.tokenizer)
    with torch.no_grad():
        for parameter in jepa.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return ConceptModel(jepa, corpus.tokenizer, None, settings)


def write_parquet(folder: Path, *, documents: int, files: int) -> Path:
    """A folder of parquet files with stories as texts."""
    folder.mkdir(parents=True, exist_ok=True)
    source = open_source(tiny_settings(folder, f"data.limit={documents}").data)
    texts = [document.text for document in source.documents(Counter())][:documents]
    for number in range(files):
        pq.write_table(pa.table({"text": texts[number::files]}), folder / f"part-{number}.parquet")
    return folder


class StopAt(Silent):
    """Asks the run to stop as the operating system would, while a given step (0: the first validation) is reported."""

    def __init__(self, step: int) -> None:
        self.stop_step = step

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == self.stop_step == 0:
            signal.raise_signal(signal.SIGTERM)

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        if step == self.stop_step:
            signal.raise_signal(signal.SIGTERM)


def train_in_two_parts(settings: Settings, stop: int) -> Result:
    """Train to step `stop`, be asked to stop there, and go on from the checkpoint to the end."""
    first = train(settings, StopAt(stop))
    assert (first.step, first.interrupted) == (stop, True)
    return train(resume_settings(first.folder))


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process that imports this module."""
    paths: Iterable[str] = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OMP_NUM_THREADS": "1",
        **(extra or {}),
    }


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """Two checkpoints hold the same state, bit for bit."""
    ours, theirs = (load_checkpoint(path) for path in (one, other))
    for part in ours.keys() | theirs.keys():
        if part not in ("settings", "seconds", "shards"):
            differences = _different(ours[part], theirs[part], part)
            assert not differences, differences[:5]


def assert_same_run(one: Path, other: Path) -> None:
    """Two run directories hold the same run, bit for bit; only what the clock says may differ."""
    assert_same_checkpoint(one / LAST, other / LAST)
    assert rows_of(one) == rows_of(other), "metrics.csv"
    for name in ("model.safetensors", "predictor.safetensors", "statistics.safetensors"):
        assert (one / "model" / name).read_bytes() == (other / "model" / name).read_bytes(), name


def rows_of(folder: Path) -> list[dict[str, float]]:
    """Rows of a run's metrics.csv without what the clock says."""
    rows = read_metrics(folder / "metrics.csv")
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def _different(one: Any, other: Any, path: str) -> list[str]:
    """Paths at which two trees of tensors and numbers differ in a single bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        one, other = list(one.items()), list(other.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [f"{path}: {len(one)} and {len(other)} entries"]
        pairs = enumerate(zip(one, other, strict=True))
        return [found for i, (a, b) in pairs for found in _different(a, b, f"{path}.{i}")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    return [] if one == other else [f"{path}: {one} and {other}"]


TEXT = "The cat sat by the door. Then it went to the river, where two birds were. " * 20
"""What the system of docs/own_parts.md is trained on."""


def write_own_system(folder: Path) -> None:
    """The files of the system that docs/own_parts.md makes, with a text for it."""
    page = (Path(__file__).parents[1] / "docs" / "own_parts.md").read_text(encoding="utf-8")
    for name in ("bigrams.py", "bigrams.yaml"):
        found = re.search(rf"<!-- test: file {re.escape(name)} -->\n```\w+\n(.*?)^```", page, re.S | re.M)
        assert found is not None
        (folder / name).write_text(found[1])
    (folder / "my_texts").mkdir()
    (folder / "my_texts" / "0.txt").write_text(TEXT)
