"""Going on with other text: the weights, the tokenizer and what a model reads are another run's; all else is new."""

from pathlib import Path

import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.load import read_settings
from lang_jepa.training.train import train
from tiny import corpora, tiny_encoder, tiny_settings
from typed import Type


def test_training_begins_with_another_runs_weights(tmp_path: Path, type_in: Type) -> None:
    first = tiny_encoder(tmp_path / "first")
    texts = [f"Another text {n} is here. It has {n} birds. They sat on wall {n}. Then they left." for n in range(40)]
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    given = ("-o", f"data.train_file={tmp_path / 'texts'}", "-o", f"data.corpus_dir={corpora()}", "-o",
             "data.prepare_workers=1", "-o", "data.val_fraction=0.2", "-o", "data.batch_size=4", "-o", "data.min_length=1",
             "-o", f"logging.log_dir={tmp_path / 'second'}", "-o", "optimization.max_steps=2", "-o", "optimization.lr=1e-9",
             "-o", "optimization.final_lr=0", "-o", "data.deduplicate=none", "-o", "model.score_sample=64")  # fmt: skip
    assert type_in("train", "concepts", "--from", first, *given).status == 0
    one, two = ConceptModel.load(first), ConceptModel.load(tmp_path / "second")
    assert two.tokenizer.fingerprint() == one.tokenizer.fingerprint()
    mine, theirs = one.jepa.state_dict(), two.jepa.state_dict()
    assert mine.keys() == theirs.keys()
    for name, part in mine.items():
        torch.testing.assert_close(theirs[name], part, atol=1e-4, rtol=1e-3)
    settings = read_settings(tmp_path / "second" / "settings.yaml")
    assert settings.model.embed_dim == one.settings.model.embed_dim
    assert settings.meta.start_from == str(first / "model")
    assert type_in("train", tmp_path / "second", "--resume").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("concept_decoder",), "not with a recipe of system decoder"),
        (("runs/x", "--resume"), "not with --resume"),
    ],
)
def test_where_it_means_nothing_it_is_refused(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    type_in: Type,
) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "settings.yaml").write_text("recipe: concepts\n")
    monkeypatch.chdir(tmp_path)
    code, _, err = type_in("train", *words, "--from", "run")
    assert (code, said in err) == (2, True), err


def test_a_start_that_does_not_fit_is_named(tmp_path: Path) -> None:
    first = tiny_encoder(tmp_path / "first")
    with pytest.raises(LangJepaError, match=r"has another tokenizer than the corpus: set data\.tokenizer_path"):
        train(tiny_settings(tmp_path / "second", f"meta.start_from={first}", "data.vocab_size=350"))
    with pytest.raises(LangJepaError, match="there is no model of an encoder"):
        train(tiny_settings(tmp_path / "third", f"meta.start_from={tmp_path}"))
    wider = (f"meta.start_from={first}", f"data.tokenizer_path={first / 'model'}", "model.num_layers=2")
    with pytest.raises(LangJepaError, match="does not fit these settings: missing encoder"):
        train(tiny_settings(tmp_path / "fourth", *wider))
    inside = (f"meta.start_from={first}", f"data.tokenizer_path={first / 'model'}")
    with pytest.raises(LangJepaError, match=r"which a new run would move away: set another logging\.log_dir"):
        train(tiny_settings(first, *inside))
