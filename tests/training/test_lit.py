"""LitJEPA under Lightning's Trainer against our own loop, and its resumption."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from lang_jepa import LitJEPA, TextDataModule
from lang_jepa.config import Settings
from lang_jepa.errors import LangJepaError
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.train import train
from tiny import tiny_settings

STEPS = 6


def _trainer(folder: Path, steps: int = STEPS, **options: Any) -> Trainer:
    return Trainer(
        max_steps=steps,
        val_check_interval=3,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        **options,
    )


def _fit(settings: Settings, folder: Path, **options: Any) -> tuple[LitJEPA, Trainer]:
    module, trainer = LitJEPA(settings), _trainer(folder, **options)
    trainer.fit(module, TextDataModule(settings))
    return module, trainer


@pytest.mark.parametrize(
    "overrides",
    [
        ("objective.center_targets=true",),
        ("objective.target=shared", "objective.target_gradient=true", "objective.regularizer=sigreg",
         "optimization.loss_fn=mse"),
        ("model.freeze_encoder=true", "objective.target=frozen", "objective.regularizer=none"),
    ],
    ids=["ema", "shared", "cached concepts"],
)  # fmt: skip
def test_the_trainer_makes_the_steps_of_the_loop(overrides: tuple[str, ...], tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "ours", "model.dropout=0.1", *overrides)
    train(settings)
    state = load_checkpoint(tmp_path / "ours" / LAST)
    module, trainer = _fit(settings, tmp_path)
    assert trainer.global_step == STEPS
    theirs = module.jepa.state_dict()
    assert theirs.keys() == state["model"].keys()
    for name, tensor in state["model"].items():
        assert torch.equal(theirs[name], tensor), name
    assert state["target"].keys() == (module.target.encoder.state_dict() if module.target.own else {}).keys()
    for name, tensor in state["target"].items():
        assert torch.equal(module.target.encoder.state_dict()[name], tensor), name
    assert {"train/loss", "val/loss", "val/retrieval/mrr"} <= trainer.callback_metrics.keys()


def test_a_resumed_trainer_equals_one_that_never_stopped(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, "model.dropout=0.1", "objective.center_targets=true")
    whole, _ = _fit(settings, tmp_path)

    class Stop(LitJEPA):
        def on_train_batch_end(self, *arguments: Any) -> None:
            super().on_train_batch_end(*arguments)
            if self.global_step == 3:
                self.trainer.save_checkpoint(tmp_path / "half.ckpt")
                self.trainer.should_stop = True

    _trainer(tmp_path, min_steps=0).fit(Stop(settings), TextDataModule(settings))
    again = LitJEPA(settings)
    trainer = _trainer(tmp_path, num_sanity_val_steps=0)
    trainer.fit(again, TextDataModule(settings), ckpt_path=tmp_path / "half.ckpt")
    assert trainer.global_step == STEPS
    for name, tensor in whole.jepa.state_dict().items():
        assert torch.equal(again.jepa.state_dict()[name], tensor), name
    for name, tensor in whole.target.encoder.state_dict().items():
        assert torch.equal(again.target.encoder.state_dict()[name], tensor), name


def test_the_finished_model_can_be_saved_and_loaded(tmp_path: Path) -> None:
    from lang_jepa import ConceptModel

    module, _ = _fit(tiny_settings(tmp_path), tmp_path)
    model = module.concept_model()
    model.save(tmp_path / "model")
    sentences = ["A dog barked.", "It rained on the town."]
    loaded = ConceptModel.load(tmp_path / "model")
    assert torch.equal(torch.tensor(loaded.encode(sentences)), torch.tensor(model.encode(sentences)))


def test_the_watch_stops_the_trainer(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, "meta.on_collapse=stop")
    module = LitJEPA(settings)

    class Dead(TextDataModule):
        def learnt_from(self, batch: Any) -> None:
            super().learnt_from(batch)
            with torch.no_grad():  # an encoder that forgets its input
                for parameter in module.target.encoder.backbone.parameters():
                    parameter.zero_()

    with pytest.raises(LangJepaError, match="on_collapse=stop"):
        _trainer(tmp_path).fit(module, Dead(settings))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    with pytest.raises(LangJepaError, match="TextDataModule"):
        _trainer(tmp_path).fit(LitJEPA(settings), train_dataloaders=[0])
    with pytest.raises(LangJepaError, match="max_steps"):
        _trainer(tmp_path, steps=-1).fit(LitJEPA(settings), TextDataModule(settings))
