"""The published notebook of LeJEPA for text: rows joined into documents, GPT-2's kind of tokenizer, chunks of 256 tokens."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightning.pytorch import Trainer
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from lang_jepa import LitJEPA, TextDataModule
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import load_settings

SMALL = (
    "data.prepare_workers=1",
    "data.deduplicate=none",
    "data.val_fraction=0.4",
    "data.batch_size=8",
    "model.embed_dim=32",
    "model.pred_dim=32",
    "model.num_layers=1",
    "model.num_heads=2",
    "model.predictor_heads=2",
    "model.head_sample=64",
    "model.score_sample=64",
    "logging.val_sentences=64",
)


def _rows() -> list[str]:
    """Eight articles as wikitext has them: a title, sections, paragraphs, a row each, and empty rows between."""
    rng = np.random.default_rng(0)
    names = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te") for b in ("no", "ra", "si", "tu", "ve")]
    rows = []
    for article in range(8):
        rows += ["", f" = Article {article} = \n", ""]
        for section in range(3):
            rows += [f" = = Part {section} = = \n", ""]
            rows += [" " + " ".join(rng.choice(names, 90)) + " . \n" for _ in range(3)]
    return rows


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("notebook")
    rows = _rows()
    pq.write_table(pa.table({"text": rows}), folder / "wiki.parquet")
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(rows, vocab_size=400, special_tokens=["<|endoftext|>"])
    end = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, **end).save_pretrained(folder / "gpt2")
    places = (
        f"data.train_file={folder / 'wiki.parquet'}",
        f"data.tokenizer_path={folder / 'gpt2'}",
        f"data.corpus_dir={folder}",
    )
    return load_settings("lejepa_wikitext", [*places, *SMALL])


def test_the_notebook(settings: Settings, tmp_path: Path) -> None:
    module, data = LitJEPA(settings), TextDataModule(settings)
    trainer = Trainer(
        max_steps=3,
        val_check_interval=3,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, data)
    corpus = data.data.corpus
    assert corpus.train.num_documents + corpus.validation.num_documents == 8
    view = data.data.view
    sizes = view.sizes(np.arange(view.count))
    assert (sizes == 256).sum() >= view.count / 2
    assert view.left_out < 64 * corpus.train.num_documents
    names = {f"{side}/{name}" for side in ("train", "val") for name in ("loss", "pred_loss", "sigreg_loss", "repr_std")}
    assert names <= trainer.callback_metrics.keys()
    assert trainer.progress_bar_metrics.keys() == {"train/loss", "train/repr_std", "val/loss"}
    found = {name: float(trainer.callback_metrics[name]) for name in names}
    for side in ("train", "val"):
        total = found[f"{side}/pred_loss"] + 0.1 * found[f"{side}/sigreg_loss"]
        assert found[f"{side}/loss"] == pytest.approx(total, rel=1e-4)
