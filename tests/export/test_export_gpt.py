"""A trained GPT in a few bits a weight: the file loads to the weights that were scored, and the gap is theirs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.bits_per_byte import Validation
from lang_jepa.export.artifact import write_artifact
from lang_jepa.export.gpt import export_gpt, load_quantised_gpt, open_sides, score_gpts
from lang_jepa.export.quantise import Codes, Rounding, Same, parse_rounding, quantise_state, restore_state
from lang_jepa.inference.gpt import load_gpt
from lang_jepa.models.gpt import GPT
from lang_jepa.training.methods.gpt_data import open_tokens
from lang_jepa.training.train import train
from tiny import tiny_gpt
from typed import Type

CAP = 16_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT whose second layer is passed through twice."""
    folder = tmp_path_factory.mktemp("gpts") / "run"
    more = ("model.loop_layers=[1]", "model.loop_starts=[0.0]", "optimization.max_steps=12")
    return train(tiny_gpt(folder, *more)).folder


@pytest.mark.parametrize("gptq", [False, True])
@pytest.mark.parametrize("bits", [8, 6])
def test_the_file_is_the_quantised_model(run: Path, bits: int, gptq: bool, tmp_path: Path) -> None:
    rounding = Rounding(bits=bits)  # type: ignore[arg-type]
    done = export_gpt(run, tmp_path / "m.ljq", rounding, gptq=gptq, cap=CAP)
    loaded, settings, looped = load_quantised_gpt(tmp_path / "m.ljq")
    model, trained, card = load_gpt(run)
    assert (settings, looped) == (trained, tuple(card["looped"]))
    assert looped == (1,)
    if not gptq:
        for name, tensor in restore_state(quantise_state(model.state_dict(), rounding)).items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
    tokens = open_tokens(settings.data, lambda event: None)
    assert tokens.held_out is not None
    validation = Validation(tokens.held_out, tokens.table, length=settings.data.seq_len, batch_size=7)

    def score(one: GPT) -> float:
        def logits(x: Tensor) -> Tensor:
            found: Tensor = one(x, looped=looped)
            return found

        return validation.score(logits).val_bpb

    assert done.before.val_bpb == pytest.approx(score(model), abs=1e-6)
    assert done.after.val_bpb == pytest.approx(score(loaded), abs=1e-6)
    assert done.gap == done.after.val_bpb - done.before.val_bpb
    assert abs(done.gap) < (0.003 if bits == 8 else 0.05)
    assert done.before.val_bpb != done.after.val_bpb
    assert done.written.bytes < 0.65 * 2 * done.parameters  # of a file in half precision


def test_numbers_that_are_none_are_not_read(run: Path, tmp_path: Path) -> None:
    """Though the file is whole."""
    model, settings, card = load_gpt(run)
    entries = quantise_state(model.state_dict(), Rounding())
    codes = next(entry for entry in entries.values() if isinstance(entry, Codes))
    codes.scale[0] = torch.nan
    about = {"settings": settings.model_dump(mode="json"), "looped": card["looped"], "bos_id": card["bos_id"]}
    write_artifact(tmp_path / "m.ljq", entries, about)
    with pytest.raises(LangJepaError, match=r"m\.ljq is not usable: .* holds NaN or infinity"):
        load_quantised_gpt(tmp_path / "m.ljq")


def test_matrices_become_codes_and_tied_ones_are_kept_once(run: Path) -> None:
    model, settings, _ = load_gpt(run)
    assert settings.model.tie_embeddings
    entries = quantise_state(model.state_dict(), Rounding(small=256))
    matrices = [name for name, part in model.named_parameters() if part.ndim == 2]
    assert "embedding.weight" in matrices
    assert all(isinstance(entries[name], Codes) for name in matrices)
    assert not any(isinstance(entry, Same) for entry in entries.values())


def test_the_command(run: Path, tmp_path: Path, type_in: Type) -> None:
    file = tmp_path / "m.ljq"
    words = ["export", str(run), str(file), "--to", "int6"]
    ran = type_in(*words, "--clip", "percentile=99.5")
    assert ran.status == 0
    out = ran.out
    assert f"{file.stat().st_size:,} bytes" in out
    assert "of the cap of 16,000,000" in out
    assert "before" in out
    assert load_quantised_gpt(file)[2] == (1,)
    ran = type_in(*words[:2], str(tmp_path / "no"), "--to", "int8", "--cap", "100")
    assert ran.status == 2
    assert "more than the cap of 100; nothing was written" in ran.err
    assert not (tmp_path / "no").exists()
    for clip, reason in (("std=x", "'x' is not a number"), ("soft", "unknown clipping 'soft'")):
        ran = type_in(*words, "--clip", clip)
        assert ran.status == 2
        assert reason in ran.err


def test_models_beside_the_baselines(run: Path, monkeypatch: pytest.MonkeyPatch, type_in: Type) -> None:
    """`bits` on the run's own corpus: the model, its file, and what needs no model, worst first."""
    done = export_gpt(run, run.with_name("small"), Rounding(bits=6), cap=CAP)
    _, settings, _ = load_gpt(run)
    folder = open_tokens(settings.data, lambda event: None).place
    monkeypatch.chdir(run.parent)  # short names, which no table breaks
    words = ["bits", folder, "--model", "run", "--model", "small", "--quick"]
    ran = type_in(*words)
    assert ran.status == 0
    lines = ran.out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in lines if line.startswith("│")]
    assert [name for name, _ in rows].count("5-gram") == 1
    values = dict(rows)
    assert values["run"] == f"{done.before.val_bpb:.4f}"
    assert values["small"] == f"{done.after.val_bpb:.4f}"
    numbers = [float(value) for _, value in rows]
    assert numbers == sorted(numbers, reverse=True)
    sides = open_sides(Path(folder))
    (slid,) = score_gpts([run], *sides[1:], stride=8)
    assert slid.bits_per_byte != pytest.approx(done.before.val_bpb, abs=1e-6)
    other = ByteTable(torch.zeros(5, dtype=torch.int64), torch.zeros(5) > 0, torch.zeros(5) > 0, str, list)
    with pytest.raises(LangJepaError, match="predicts 600 ids and these tokens are of 5"):
        score_gpts([run], sides[1], other)
    swapped = replace(
        sides[2], decode=lambda ids: sides[2].decode([601 - id_ if id_ in (300, 301) else id_ for id_ in ids])
    )
    with pytest.raises(LangJepaError, match="was trained on other tokens than these"):
        score_gpts([run], sides[1], swapped)


def test_only_quantised_models_are_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path, reason in ((tmp_path / "notes.txt", "is not a quantised model"), (tmp_path, "is a folder")):
        with pytest.raises(LangJepaError, match=reason):
            export_gpt(run, path, Rounding(), cap=CAP)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    write_artifact(tmp_path / "old", {}, {})
    export_gpt(run, tmp_path / "old", Rounding(), cap=CAP)
    assert load_quantised_gpt(tmp_path / "old")[2] == (1,)


def test_what_is_no_gpt(tmp_path: Path) -> None:
    state = {"w": torch.zeros(80, 80)}
    write_artifact(tmp_path / "other", quantise_state(state, Rounding()), {"name": "x"})
    with pytest.raises(LangJepaError, match="not of a GPT"):
        load_quantised_gpt(tmp_path / "other")
    with pytest.raises(LangJepaError, match="not a model directory of a GPT"):
        export_gpt(tmp_path, tmp_path / "file", Rounding(), cap=CAP)
    assert parse_rounding(6, "std=3") == Rounding(bits=6, clip="std", clip_at=3.0)
    assert parse_rounding(8, "percentile").at == 100
