"""Training a GPT: exact resumption, refusals, what is measured, and what a run leaves behind."""

import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from lang_jepa.cli import app as cli
from lang_jepa.cli.progress import GPTBar
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.tokens.token_shards import write_shard
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import read_json
from lang_jepa.inference.gpt import TextGPT, load_gpt, load_table
from lang_jepa.settings.load import load_gpt_settings, save_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt, assert_same_checkpoint, rows_of, tiny_gpt

LONG = (
    "model.loop_layers=[1]",
    "model.loop_starts=[0.3]",
    "model.parallel_from=2",
    "data.micro_batch_tokens=128",
    "jepa.weight=0.1",
    "jepa.start_frac=0.2",
    "jepa.ramp_frac=0.2",
    "jepa.end_frac=0.9",
    "jepa.layer=1",
    "jepa.spans=2",
    "optimization.max_steps=40",
    "optimization.ema_decay=0.8",
    "logging.eval_freq=20",
    "evaluation.stride=16",
)
"""Everything that changes in the course of a run."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    return train(tiny_gpt(tmp_path_factory.mktemp("gpts") / "whole", *LONG)).folder


def _assert_same(one: Path, other: Path) -> None:
    assert_same_checkpoint(one / LAST, other / LAST)
    assert rows_of(one) == rows_of(other)
    for name in ("samples.txt", "model/model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def _weights(folder: Path) -> torch.Tensor:
    return torch.cat([one.flatten() for one in load_checkpoint(folder / LAST)["model"].values()])


def test_stopped_and_resumed_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    """Stopped by SIGTERM in the ramp of the span loss, and again after the loop has begun."""
    first = train(tiny_gpt(tmp_path / "parts", *LONG), StopAt(11))
    assert (first.step, first.interrupted) == (11, True)
    assert not (tmp_path / "parts" / "model").exists()
    assert train(resume_settings(tmp_path / "parts"), StopAt(25)).step == 25
    assert train(resume_settings(tmp_path / "parts")).step == 40
    _assert_same(whole, tmp_path / "parts")


def test_what_is_measured(whole: Path) -> None:
    rows = read_metrics(whole / "metrics.csv")
    steps = [row for row in rows if "train/loss" in row]
    validations = [row for row in rows if "val/loss" in row]
    assert [row["train/step"] for row in steps] == list(range(1, 41))
    assert [row["train/step"] for row in validations] == [0, 20, 40]
    assert sum(row["train/loss"] for row in steps[-5:]) < 0.95 * sum(row["train/loss"] for row in steps[:5])
    assert validations[1]["val/loss"] < validations[0]["val/loss"]
    assert validations[0]["val/loss"] == validations[0]["val/token_loss"]  # the ramp begins later
    assert validations[1]["val/loss"] == pytest.approx(
        validations[1]["val/token_loss"] + 0.1 * validations[1]["val/span_loss"]
    )
    for row in validations:
        nats = row["val/token_loss"] * row["val/tokens"]
        assert row["val/bits_per_byte"] == pytest.approx(nats / math.log(2) / row["val/bytes"], rel=1e-12)
        assert 0 < row["val/span_loss"] < 2
        assert 0 < row["val/span_loss_without_drift"] < 2
        assert row["val/span_loss"] != row["val/span_loss_without_drift"]
    assert "val/sliding_loss" not in validations[1]
    assert validations[2]["val/sliding_loss"] != validations[2]["val/loss"]
    weights = [row["train/span_weight"] for row in steps]
    assert weights[:9] == [0.0] * 9  # of the updates at steps 0 to 8, the ramp begins at 0
    assert weights[12] == pytest.approx(0.1 * (12 / 40 - 0.2) / 0.2)
    assert weights[16:36] == [pytest.approx(0.1)] * 20
    assert weights[36:] == [0.0] * 4
    for row in steps:
        span = row["train/span_weight"] * row.get("train/span_loss", 0.0)
        assert row["train/loss"] == pytest.approx(row["train/token_loss"] + span)
    assert all(("train/span_loss" in row) == (row["train/span_weight"] > 0) for row in steps)
    assert (whole / "samples.txt").read_text().count("step ") == 3


def test_the_model_directory(whole: Path, tmp_path: Path) -> None:
    """It holds the moving average, says what it measured, and notices damage."""
    model, settings, card = load_gpt(whole)
    checkpoint = load_checkpoint(whole / LAST)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, checkpoint["average"][name])
    assert not torch.equal(model.embedding.weight, checkpoint["model"]["embedding.weight"])
    assert (card["step"], card["looped"]) == (40, [1])
    assert settings.jepa.layer == 1
    validations = [row for row in read_metrics(whole / "metrics.csv") if "val/loss" in row]
    assert card["scores"]["val/loss"] == validations[-1]["val/loss"]
    assert load_table(whole).decode([]) == ""
    copied = tmp_path / "model"
    copied.mkdir()
    for file in (whole / "model").iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(LangJepaError, match="damaged or was replaced"):
        load_gpt(copied)
    with pytest.raises(LangJepaError, match="not a model directory of a GPT"):
        load_gpt(tmp_path / "nothing")


def test_weight_0_is_the_plain_gpt(tmp_path: Path) -> None:
    """A span loss that never begins changes no bit."""
    for name, jepa in (("plain", ("jepa.weight=0",)), ("never", ("jepa.weight=0.5", "jepa.start_frac=1.0"))):
        train(tiny_gpt(tmp_path / name, *jepa))
    train(tiny_gpt(tmp_path / "on", "jepa.weight=0.5"))
    plain, never, on = (_weights(tmp_path / name) for name in ("plain", "never", "on"))
    assert torch.equal(plain, never)
    assert not torch.equal(plain, on)


def test_resuming_with_other_settings_is_refused(whole: Path) -> None:
    changed = tiny_gpt(whole, *LONG, "jepa.weight=0.2", "meta.load_checkpoint=true")
    with pytest.raises(LangJepaError, match=r"jepa.weight: checkpoint 0.1, now 0.2"):
        train(changed)
    with pytest.raises(LangJepaError, match="is this a run directory"):
        resume_settings(whole.parent)


def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    broken = ("optimization.embedding_lr=1e38", "optimization.warmup_steps=0", "logging.eval_freq=100")
    with pytest.raises(LangJepaError, match=r"step [23]: the loss is .* the update was not made"):
        train(tiny_gpt(tmp_path / "run", *broken))


def test_the_clock_ends_a_run_well(tmp_path: Path) -> None:
    result = train(tiny_gpt(tmp_path / "run", "optimization.max_seconds=1e-9"))
    assert (result.step, result.interrupted) == (1, False)
    assert result.metrics["val/loss"] > 0
    assert load_gpt(result.folder)[2]["step"] == 1


def test_what_cannot_be_shared_out_or_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match="too few for one step"):
        train(tiny_gpt(tmp_path / "run", "data.batch_tokens=320000"))
    corpus = prepare(tiny_gpt(tmp_path).data.corpus())
    wrong = (f"data.data_path={corpus.path}", "data.vocab_size=700")
    with pytest.raises(LangJepaError, match=r"has 600 ids.*set data.vocab_size=600"):
        train(tiny_gpt(tmp_path / "run", *wrong))
    assert not (tmp_path / "run").exists()


def test_a_prepared_corpus_by_its_folder(tmp_path: Path) -> None:
    """The same run as from the documents it was prepared from."""
    settings = tiny_gpt(tmp_path / "documents")
    path = prepare(settings.data.corpus()).path
    train(settings)
    train(tiny_gpt(tmp_path / "folder", f"data.data_path={path}"))
    assert torch.equal(_weights(tmp_path / "documents"), _weights(tmp_path / "folder"))


def test_a_metric_that_could_not_be_measured_has_no_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One held-out sequence has no mean to compare with."""
    few = ("data.limit=12", "data.vocab_size=400", "data.seq_len=512", "data.batch_tokens=512")
    result = train(tiny_gpt(tmp_path / "run", *few), GPTBar())
    assert "val/span_loss" in result.metrics
    assert "val/span_loss_without_drift" not in result.metrics
    lines = capsys.readouterr().out.splitlines()
    heading = next(line for line in lines if line.startswith("    step"))
    assert heading.split() == ["step", "loss", "token", "loss", "bits/byte", "span", "loss", "seconds"]
    shown = next(line for line in lines if line.startswith("       6")).split()
    measured = [result.metrics[f"val/{name}"] for name in ("loss", "token_loss", "bits_per_byte", "span_loss")]
    assert shown[:5] == ["6", *(f"{value:.4f}" for value in measured)]


def test_a_small_text_may_give_fewer_ids_than_asked_for(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(40):
        (texts / f"{number}.txt").write_text(
            f"The cat number {number} sat by the door. It looked at {number + 2} birds. " * 3
        )
    small = (f"data.train_file={texts}", "data.vocab_size=2000", "data.seq_len=16", "data.batch_tokens=64")
    result = train(tiny_gpt(tmp_path / "run", *small, "logging.num_examples=40"))
    model = load_gpt(result.folder)[0]
    assert model.vocab_size == 2000 > len(load_table(result.folder).base)


def test_text_about_markup(tmp_path: Path) -> None:
    """Special tokens spelt out in texts and prompts are text: bytes agree, and what is written begins as asked."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for k in range(40):
        (texts / f"{k}.txt").write_text(
            f"<svg><mask id={k}></mask></svg> is image {k}. <s>Old</s> text, {k + 1} <pad>."
        )
    small = (f"data.train_file={texts}", "data.min_length=1", "data.vocab_size=400", "data.seq_len=64")
    result = train(tiny_gpt(tmp_path / "run", *small, "evaluation.val_tokens=null"))
    held = prepare(tiny_gpt(tmp_path / "run", *small).data.corpus()).validation
    whole = [" ".join(held.texts(range(*held.document_starts[k : k + 2]))) for k in range(held.num_documents)]
    assert result.metrics["val/bytes"] == sum(len(text.encode()) for text in whole) > 0
    assert all("<mask id=" in text and "<pad>." in text for text in whole)
    prompt = "A <mask> and </s>, <s>"
    (written,) = TextGPT.load(result.folder).write(prompt, tokens=3)
    assert written.startswith(prompt)


def test_token_shards(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    from lang_jepa.data.tokens.pieces import train_pieces

    texts = [f"Anna saw {n} apples. Then Ben took {n % 7} of them home." for n in range(300)]
    pieces = train_pieces(texts, 340)
    folder = tmp_path / "shards"
    folder.mkdir()
    for side, share in (("train", texts[:240]), ("val", texts[240:])):
        tokens = np.concatenate([[1, *ids] for ids in pieces.encode(share)])
        write_shard(folder / f"fineweb_{side}_000000.bin", tokens)
    settings = (f"data.data_path={folder}", f"data.vocab_size={pieces.vocab_size}")
    with pytest.raises(LangJepaError, match=r"data\.tokenizer_path \(TOKENIZER_PATH\)"):
        train(tiny_gpt(tmp_path / "run", *settings))
    (tmp_path / "own.model").write_bytes(pieces.model)
    named = (*settings, f"data.tokenizer_path={tmp_path / 'own.model'}", "evaluation.val_tokens=null")
    result = train(tiny_gpt(tmp_path / "run", *named))
    assert result.metrics["val/tokens"] == sum(len(ids) + 1 for ids in pieces.encode(texts[240:])) - 1
    assert result.metrics["val/bytes"] == sum(len(text.encode()) for text in texts[240:])
    ids = pieces.encode(["Anna saw 12 apples."])[0].tolist()
    assert load_table(result.folder).decode(ids) == "Anna saw 12 apples."


def test_the_script_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python train_jepa.py` with variables and options, and its refusal of a misspelt one."""
    script = str(Path(__file__).parents[2] / "train_jepa.py")
    save_settings(tiny_gpt(tmp_path / "unused"), tmp_path / "tiny.yaml")
    tiny = load_gpt_settings(str(tmp_path / "tiny.yaml")).model_dump()
    chosen = [(section, key) for section in ("data", "model", "evaluation") for key in tiny[section]]
    options = [
        part
        for section, key in chosen
        if tiny[section][key] not in (None, ()) and not isinstance(tiny[section][key], tuple)
        for part in ("-o", f"{section}.{key}={tiny[section][key]}".replace("=True", "=true"))
    ]
    monkeypatch.chdir(tmp_path)
    variables = {
        "JEPA_LAMBDA": "0.25",
        "ITERATIONS": "2",
        "RUN_ID": "mine",
        "WARMDOWN_ITERS": "0",
        "SEED": "5",
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(sys, "argv", [script, *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code in (0, None)
    settings = load_gpt_settings(str(tmp_path / "runs" / "mine" / "settings.yaml"))
    assert (settings.jepa.weight, settings.meta.seed, settings.optimization.max_steps) == (0.25, 5, 2)
    assert read_json(tmp_path / "runs" / "mine" / "summary.json", what="summary")["steps"] == 2

    monkeypatch.setenv("JEPA_LAMBA", "1")
    monkeypatch.setattr(sys, "argv", ["lang-jepa", "train", "gpt_jepa", "--environment"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2


def test_a_compiled_run_has_one_graph_more_with_the_span_loss(tmp_path: Path) -> None:
    """And the same training, up to rounding, which Adam's first steps enlarge: the backend `eager` runs the traced graph,
    which has the formulas and not the operations by hand."""
    late = ("jepa.weight=0.3", "jepa.start_frac=0.5")
    found = {}
    for name, jepa in (("plain", ("jepa.weight=0",)), ("late", late)):
        torch._dynamo.reset()
        counters.clear()
        train(tiny_gpt(tmp_path / name, "meta.compile=eager", *jepa))
        found[name] = int(counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    assert found == {"plain": 1, "late": 2}
    train(tiny_gpt(tmp_path / "not compiled", *late))
    compiled, eager, plain = (_weights(tmp_path / name) for name in ("late", "not compiled", "plain"))
    assert (compiled - eager).norm() < 0.1 * (compiled - plain).norm()
