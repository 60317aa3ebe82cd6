"""Every recipe that comes with the package, at tiny size: it learns, stays alive, and goes on where it stopped."""

import math
from pathlib import Path

import pytest

from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import load_settings
from lang_jepa.settings.recipes import recipe_names
from lang_jepa.training.metrics import OTHER_NAMES, read_metrics
from lang_jepa.training.train import train
from tiny import MODES, TINY, assert_same_run, corpora, tiny_settings, train_in_two_parts

_SMALL = (
    *TINY,
    "data.val_fraction=0.3",
    "data.batch_size=16",
    "model.max_length=96",
    "model.mlp_ratio=2.0",
    "optimization.max_steps=30",
    "optimization.warmup_steps=3",
    "optimization.lr=6e-3",
    "logging.val_sentences=512",
    "logging.eval_freq=10",
)
_FROM_SCRATCH = (
    "data.train_file=stories",
    "data.tokenizer_path=trained",
    "model.pretrained=false",
    "model.num_layers=1",
)
EXAMPLES = Path(__file__).parents[2] / "examples"
OVERRIDES = {
    "masked_sentences": ("data.limit=20", "optimization.lr=2e-2"),
    "next_sentence_vicreg": ("data.limit=20", "optimization.lr=2e-2"),
    "next_sentence": ("model.head=whitened", "data.num_workers=0"),  # from scratch it would begin collapsed
    "masked_concepts": ("model.predictor=neighbour_attention",),  # thirty-two weights have little to learn here
    "dialogue": (f"data.train_file={EXAMPLES / 'chats.jsonl'}", "data.batch_size=4", "optimization.lr=2e-3"),
    "dialogue_pretrained": (f"data.train_file={EXAMPLES / 'chats.jsonl'}", "data.batch_size=4"),
    "log": (f"data.train_file={EXAMPLES / 'app.log'}", "data.batch_size=4"),
    "lejepa_spans": ("data.chunk_size=48",),
    # So little holds the spread of these two that a higher rate takes them nowhere.
    "lejepa_spans_notebook": ("data.chunk_size=48", "optimization.lr=2e-3"),
    "lejepa_wikitext": (
        "data.chunk_size=48",
        "data.span_min_length=12",
        "data.join_rows=null",
        "optimization.lr=2e-3",
    ),
}


def small(name: str, folder: Path, *overrides: str) -> Settings:
    places = (f"data.corpus_dir={corpora()}", f"logging.log_dir={folder}")
    return load_settings(name, [*places, *OVERRIDES.get(name, ()), *overrides], usual=[*_SMALL, *_FROM_SCRATCH])


@pytest.mark.parametrize("name", recipe_names("encoder"))
def test_it_learns_and_stays_alive(name: str, tmp_path: Path) -> None:
    settings = small(name, tmp_path / "run")
    result = train(settings)
    assert result.alarms == ()
    rows = read_metrics(result.folder / "metrics.csv")
    assert all(math.isfinite(value) for row in rows for value in row.values())
    distances = [row["train/distance"] for row in rows if "train/distance" in row]
    assert len(distances) == 30
    assert sum(distances[-5:]) < 0.98 * sum(distances[:5])
    model = ConceptModel.load(result.folder)
    assert model.encode(["The cat sat on the mat."]).shape == (1, settings.model.embed_dim)


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("masked_sentences", 3),
        ("lejepa_spans", 4),
        ("lejepa_spans_notebook", 5),
        ("same_sentence_sigreg", 4),
        ("concept_sequence", 3),
    ],
)
def test_it_goes_on_where_it_stopped(name: str, stop: int, tmp_path: Path) -> None:
    """With dropout where it matters; over the end of an epoch, so that what is drawn there is drawn again."""
    overrides = (
        "model.dropout=0.1",
        "data.limit=40",
        "optimization.max_steps=7",
        "logging.eval_freq=7",
        "data.num_workers=1",
    )
    train(small(name, tmp_path / "whole", *overrides))
    train_in_two_parts(small(name, tmp_path / "parts", *overrides), stop=stop)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("mode", MODES)
def test_several_horizons_in_every_context(mode: str, tmp_path: Path) -> None:
    """Every weight is reached, a resumed run is the whole run, and the model still predicts the next sentence."""
    settings = tiny_settings(tmp_path / "whole", *MODES[mode], "data.horizons=3")
    result = train(settings)
    assert ConceptModel.load(result.folder).predict_next(["It rained.", "Anna left."]).shape == (32,)
    train_in_two_parts(tiny_settings(tmp_path / "parts", *MODES[mode], "data.horizons=3"), stop=4)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_runs_on_spans_have_the_names_of_their_field(tmp_path: Path) -> None:
    train(small("lejepa_spans", tmp_path / "run", "optimization.max_steps=4", "logging.eval_freq=2"))
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    for name, other in {**OTHER_NAMES, "train/repr_std": "train/repr_std"}.items():
        values = [row[name] for row in rows if name in row]
        assert values == [row[other] for row in rows if other in row]
        assert len(values) == (4 if name.startswith("train/") else 3)
        assert all(value > 0 for value in values)
    assert all("train/momentum" not in row for row in rows), "there is no moving average"
