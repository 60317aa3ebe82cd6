"""LitJEPA under Lightning's Trainer against our own loop, and its resumption."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision

from lang_jepa import LitJEPA, TextDataModule
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.methods.lit import _hash_of
from lang_jepa.training.metrics import read_metrics
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
        enable_checkpointing="callbacks" in options,
        default_root_dir=folder,
        **options,
    )


def _fit(settings: Settings, folder: Path, **options: Any) -> tuple[LitJEPA, Trainer]:
    module, trainer = LitJEPA(settings), _trainer(folder, **options)
    trainer.fit(module, TextDataModule(settings))
    return module, trainer


SHARED = ("objective.target=shared", "objective.target_gradient=true", "objective.regularizer=sigreg",
          "optimization.loss_fn=mse", "objective.final_regularizer_weight=0.05")  # fmt: skip
CACHED = ("model.freeze_encoder=true", "objective.target=frozen", "objective.regularizer=none")
BF16 = "meta.precision=bf16"


@pytest.mark.parametrize(
    "overrides",
    [
        ("objective.center_targets=true",),
        SHARED,
        CACHED,
        (BF16, "optimization.loss_fn=contrastive"),  # a matrix product in the objective
        (BF16, *SHARED),  # weights used twice and targets in two terms: gradients are summed
        (BF16, *CACHED, "model.head=none"),  # what goes into the model is rounded
    ],
    ids=["ema", "shared", "cached concepts", "bf16", "bf16 shared", "bf16 cached concepts"],
)
def test_the_trainer_makes_the_steps_of_the_loop(overrides: tuple[str, ...], tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "ours", "model.dropout=0.1", *overrides)
    train(settings)
    state = load_checkpoint(tmp_path / "ours" / LAST)
    precision = "bf16-mixed" if settings.meta.precision == "bf16" else "32-true"
    module, trainer = _fit(settings, tmp_path, precision=precision)
    assert trainer.global_step == STEPS
    theirs = module.jepa.state_dict()
    assert theirs.keys() == state["model"].keys()
    for name, tensor in state["model"].items():
        assert torch.equal(theirs[name], tensor), name
    assert (
        state["target"].keys() == (module.method.target.encoder.state_dict() if module.method.target.own else {}).keys()
    )
    for name, tensor in state["target"].items():
        assert torch.equal(module.method.target.encoder.state_dict()[name], tensor), name
    last = [row for row in read_metrics(tmp_path / "ours" / "metrics.csv") if "val/loss" in row][-1]
    rows = read_metrics(tmp_path / "ours" / "metrics.csv")
    last |= [row for row in rows if "train/loss" in row][-1]
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    both = logged.keys() & last.keys()
    assert {"train/loss", "train/distance", "train/regularizer", "train/learning_rate", "val/loss"} <= both
    assert ("train/momentum" in logged) is ("train/momentum" in last)
    assert {name: logged[name] for name in both} == pytest.approx({name: last[name] for name in both}, rel=1e-5)
    assert trainer.progress_bar_metrics.keys() == {"train/loss", "train/repr_std", "val/loss"}


@pytest.mark.parametrize(
    "options",
    [{"plugins": [MixedPrecision("16-mixed", "cpu")]}, {"precision": "bf16-true"}],
    ids=["16-mixed", "bf16-true"],
)
def test_a_precision_that_would_train_wrongly_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match="precision='bf16-mixed' or '32-true'"):
        _fit(tiny_settings(tmp_path), tmp_path, **options)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_trainers_limit_of_the_gradient(algorithm: str, precision: str, tmp_path: Path) -> None:
    sizes: list[float] = []

    class Peek(LitJEPA):
        def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
            super().configure_gradient_clipping(*args, **kwargs)
            gradient = torch.cat([parameter.grad.flatten() for parameter in self.jepa.parameters()])
            sizes.append(float(gradient.norm(2.0 if algorithm == "norm" else torch.inf)))

    settings = tiny_settings(tmp_path, "optimization.clip_grad=null")
    limit = {"gradient_clip_val": 1e-4, "gradient_clip_algorithm": algorithm}
    trainer = _trainer(tmp_path, steps=1, precision=precision, limit_val_batches=0, **limit)
    trainer.fit(Peek(settings), TextDataModule(settings))
    assert sizes == [pytest.approx(1e-4, rel=1e-2)]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_trainer_before_the_update(what: str, tmp_path: Path) -> None:
    """Also a gradient whose loss is finite, and where nothing is clipped."""

    class Spoilt(LitJEPA):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.before = {name: tensor.clone() for name, tensor in self.jepa.state_dict().items()}
            if what == "loss":
                plain = self.method.loss
                spoilt = lambda *args: replace(found := plain(*args), total=found.total * torch.nan)  # noqa: E731
                self.method.loss = spoilt  # type: ignore[method-assign]
            loss = super().training_step(batch, batch_idx)
            if what == "gradient":
                loss.register_hook(lambda gradient: gradient * torch.inf)
            return loss

    settings = tiny_settings(tmp_path, "optimization.clip_grad=null")
    module = Spoilt(settings)
    with pytest.raises(LangJepaError, match=r"step 1: the loss is .*the update was not made"):
        _trainer(tmp_path).fit(module, TextDataModule(settings))
    for name, tensor in module.jepa.state_dict().items():
        assert torch.equal(tensor, module.before[name]), name


def test_a_resumed_trainer_equals_one_that_never_stopped(tmp_path: Path) -> None:
    """From what a ModelCheckpoint saved in the middle of the whole run."""
    settings = tiny_settings(tmp_path, "model.dropout=0.1", "objective.center_targets=true")
    every = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    whole, _ = _fit(settings, tmp_path, callbacks=[every])
    again, trainer = LitJEPA(settings), _trainer(tmp_path)
    trainer.fit(again, TextDataModule(settings), ckpt_path=tmp_path / "step=2.ckpt")
    assert trainer.global_step == STEPS
    for name, tensor in whole.jepa.state_dict().items():
        assert torch.equal(again.jepa.state_dict()[name], tensor), name
    for name, tensor in whole.method.target.encoder.state_dict().items():
        assert torch.equal(again.method.target.encoder.state_dict()[name], tensor), name
    assert again.method.monitor.state_dict() == whole.method.monitor.state_dict()


def test_validate_measures_the_start_before_fit_and_the_end_after_it(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "ours")
    train(settings)
    validations = [row["val/loss"] for row in read_metrics(tmp_path / "ours" / "metrics.csv") if "val/loss" in row]
    module, data, trainer = LitJEPA(settings), TextDataModule(settings), _trainer(tmp_path)
    (before,) = trainer.validate(module, data, verbose=False)
    trainer.fit(module, data)
    (after,) = trainer.validate(module, data, verbose=False)
    assert [before["val/loss"], after["val/loss"]] == pytest.approx([validations[0], validations[-1]], rel=1e-6)


def test_the_generator_of_a_gpu_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `fit` too, when the module is back on the CPU."""
    module, trainer = _fit(tiny_settings(tmp_path, "optimization.max_steps=1"), tmp_path, steps=1)
    state, restored = torch.arange(16, dtype=torch.uint8), list[torch.Tensor]()
    monkeypatch.setattr(trainer.strategy, "_root_device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    module.on_train_start()
    assert [torch.equal(state, found) for found in restored] == [True]


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    """The floating tensors of a tree."""
    if isinstance(tree, torch.Tensor) and tree.is_floating_point():
        yield tree
    elif isinstance(tree, dict | list):
        for one in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(one)


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    _, trainer = _fit(settings, tmp_path)
    path = tmp_path / "mine.ckpt"
    trainer.save_checkpoint(path)
    with pytest.raises(LangJepaError, match=r"trainer\.fit\(.*ckpt_path"):
        LitJEPA.load_from_checkpoint(path, settings=settings)
    # What that message advises: of a training that had ended, the model is there at once.
    again, trainer = LitJEPA(settings), _trainer(tmp_path)
    trainer.fit(again, TextDataModule(settings), ckpt_path=path)
    again.concept_model()
    checkpoint = torch.load(path)
    checkpoint["state_dict"]["jepa.encoder.backbone.embeddings.word_embeddings.weight"][3, 3] *= 1.5
    torch.save(checkpoint, tmp_path / "damaged.ckpt")
    with pytest.raises(LangJepaError, match="damaged: its contents do not match its checksum"):
        _trainer(tmp_path).fit(LitJEPA(settings), TextDataModule(settings), ckpt_path=tmp_path / "damaged.ckpt")
    for part in ("optimizer_states", "loops", "epoch", "global_step", "TextDataModule"):
        with pytest.raises(LangJepaError, match="damaged: its contents do not match its checksum"):
            again.on_load_checkpoint({**torch.load(path), part: "something else"})
    for name in ("target", "watch", "generators"):
        changed = torch.load(path)
        changed["lang_jepa"][name] = "something else"
        with pytest.raises(LangJepaError, match="damaged: its contents do not match its checksum"):
            again.on_load_checkpoint(changed)
    for part in ("state_dict", "optimizer_states"):
        spoilt = torch.load(path)
        next(_tensors(spoilt[part])).fill_(torch.nan)
        ours = {name: one for name, one in spoilt["lang_jepa"].items() if name != "sha256"}
        spoilt["lang_jepa"]["sha256"] = _hash_of({**spoilt, "lang_jepa": ours})
        with pytest.raises(LangJepaError, match=r"the checkpoint is not usable: .* holds NaN"):
            again.on_load_checkpoint(spoilt)
    del checkpoint["lang_jepa"]["sha256"]
    torch.save(checkpoint, path)
    with pytest.raises(LangJepaError, match="earlier version"):
        _trainer(tmp_path).fit(LitJEPA(settings), TextDataModule(settings), ckpt_path=path)


def test_the_finished_model_can_be_saved_and_loaded(tmp_path: Path) -> None:
    from lang_jepa import ConceptModel

    module, _ = _fit(tiny_settings(tmp_path), tmp_path)
    model = module.concept_model()
    model.save(tmp_path / "model")
    sentences = ["A dog barked.", "It rained on the town."]
    loaded = ConceptModel.load(tmp_path / "model")
    assert torch.equal(torch.tensor(loaded.encode(sentences)), torch.tensor(model.encode(sentences)))


def test_the_collapse_monitor_stops_the_trainer(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, "meta.on_collapse=stop")
    module = LitJEPA(settings)

    class Dead(TextDataModule):
        def learnt_from(self, batch: Any) -> None:
            super().learnt_from(batch)
            with torch.no_grad():  # an encoder that forgets its input
                for parameter in module.method.target.encoder.backbone.parameters():
                    parameter.zero_()

    with pytest.raises(LangJepaError, match="on_collapse=stop"):
        _trainer(tmp_path).fit(module, Dead(settings))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    with pytest.raises(LangJepaError, match="TextDataModule"):
        _trainer(tmp_path).fit(LitJEPA(settings), train_dataloaders=[0])
    with pytest.raises(LangJepaError, match="max_steps"):
        _trainer(tmp_path, steps=-1).fit(LitJEPA(settings), TextDataModule(settings))


def test_what_is_cut_is_reported_where_training_starts(tmp_path: Path) -> None:
    data = TextDataModule(tiny_settings(tmp_path, "model.max_length=8"))
    with pytest.warns(UserWarning, match=r"cut [\d,]+ \(.*%\) of [\d,]+ sentences at 8 tokens. Check model.max_length"):
        data.setup("fit")
