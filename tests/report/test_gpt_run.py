"""A GPT's scores: bits per byte, what quantisation costs, hidden states as vectors, and what stands beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lang_jepa.data.tokens.byte_table import documents
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.language import NGram
from lang_jepa.evaluation.table import Report
from lang_jepa.evaluation.tasks import Budget
from lang_jepa.export.gpt import export_gpt
from lang_jepa.export.quantise import parse_rounding
from lang_jepa.files.atomic import read_json
from lang_jepa.inference.gpt import TextGPT, initial_gpt, load_gpt
from lang_jepa.report import evaluate_run
from lang_jepa.report.gpt_run import ScoredGPT, _own_tokens
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.training.methods.gpt_data import open_tokens
from lang_jepa.training.train import train
from tiny import tiny_gpt
from typed import Type

BUDGET = Budget(queries=60, ridge_pairs=200, documents=12, held_out_documents=9, document_tokens=80)
BITS, GAP, FILE = (f"{name} (lower is better)" for name in ("bits per byte", "bits per byte lost", "bytes of the file"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT whose second layer is passed through twice."""
    folder = tmp_path_factory.mktemp("gpts") / "run"
    more = ("model.loop_layers=[1]", "model.loop_starts=[0.0]", "optimization.max_steps=12")
    return train(tiny_gpt(folder, *more)).folder


@pytest.fixture(scope="module")
def report(run: Path) -> Report:
    return evaluate_run(run, EvaluateOptions(tasks="bits_per_byte,quantised,retrieval", budget=BUDGET))[0]


def test_bits_per_byte_of_some_documents_beside_what_needs_no_model(run: Path, report: Report) -> None:
    """Recomputed document by document from the model's own logits; the 5-gram from its own counts."""
    model, settings, card = load_gpt(run)
    tokens = open_tokens(settings.data, lambda event: None)
    some = ScoredGPT(run, EvaluateOptions(budget=BUDGET)).language().validation.source
    row = torch.from_numpy(some.read(0, some.num_tokens))
    assert 2 <= len(list(documents(some))) <= 9
    nats = 0.0
    model.requires_grad_(False)
    for start in range(0, len(row) - 1, settings.data.seq_len):
        part = row[start : start + settings.data.seq_len + 1]
        scores = model(part[None, :-1], looped=tuple(card["looped"]))[0].log_softmax(-1)
        nats -= float(scores.gather(1, part[1:, None]).double().sum())
    texts = [tokens.table.decode(ids) for ids in documents(some)]
    size = sum(len(text.encode()) for text in texts)
    value = {row.name: row.value for row in report.rows if (row.task, row.metric) == ("language model", BITS)}
    assert value["model"] == pytest.approx(nats / np.log(2) / size, rel=1e-5)
    assert value["chance"] == pytest.approx((len(row) - 1) * np.log2(600) / size)
    assert value["model"] < value["untrained"] < value["chance"] * 1.05
    counted = NGram.fit(tokens.train.read(0, tokens.train.num_tokens).astype(np.uint16), 600, order=5)
    expected = counted.nats(row.numpy().astype(np.uint16)).sum() / np.log(2) / size
    assert value["5-gram"] == pytest.approx(float(expected))
    assert {"zlib", "bz2", "xz", "zstd"} <= value.keys()


def test_values_of_documents_give_the_score(report: Report) -> None:
    kept = {(row.task, row.metric): row for row in report.rows if row.detail and row.metric in (BITS, GAP)}
    assert len(kept) == 5
    for row in kept.values():
        assert row.detail is not None
        assert row.detail.sizes is not None
        assert row.value == pytest.approx(row.detail.values.sum() / row.detail.sizes.sum())
        assert row.judged == (row.metric == BITS)
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.value < row.high
    for precision in ("int8", "int6"):
        lost = kept[f"quantised, {precision}", GAP].value
        after, before = kept[f"quantised, {precision}", BITS].value, kept["language model", BITS].value
        assert lost == pytest.approx(after - before, abs=1e-9)


def test_quantised_is_what_the_export_writes(run: Path, report: Report, tmp_path: Path) -> None:
    """Score and size, but for the run's folder, which the size does not depend on; compressed, a longer header may be
    the shorter one."""
    for precision, bits in (("int8", 8), ("int6", 6)):
        done = export_gpt(run, tmp_path / "m.ljq", parse_rounding(bits, None), cap=16_000_000)
        size = report.value(f"quantised, {precision}", "validation", FILE, "model")
        assert abs(done.written.bytes - size) < 200


def test_retrieval_has_every_baseline(report: Report) -> None:
    for task in ("other", "same"):
        rows = [row for row in report.rows if row.task == f"next sentence, {task} document{'s' * (task == 'other')}"]
        names = {row.name for row in rows}
        assert {"model", "untrained", "chance", "copy-forward (model)", "recency mean (model)"} <= names
        assert {"TF-IDF, last 3", "copy-forward (untrained)"} <= names
        assert {"recall@1", "mrr"} <= {row.metric for row in rows}


def test_a_cache_changes_nothing_and_serves_the_next_run(run: Path, report: Report, tmp_path: Path) -> None:
    options = {"tasks": "bits_per_byte,quantised,retrieval", "data_dir": None, "budget": BUDGET}
    for number in (1, 2):
        again, path = evaluate_run(
            run, EvaluateOptions(output=tmp_path / f"{number}.json", shared=tmp_path / "shared", **options)
        )
        assert [row.value for row in again.rows] == [row.value for row in report.rows]
        kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "shared").iterdir()}
        assert path.is_file()
        if number == 1:
            before = kept
    assert kept == before
    assert len(kept) == 5  # n-grams; the untrained model's bits, sentences, contexts, training sentences


def test_vectors_are_means_of_states(run: Path) -> None:
    """One text at a time and by hand, whatever stands beside it in a batch."""
    gpt = TextGPT.load(run)
    texts = ["The cat sat.", "It was late, and the boat had gone.", "", "Rain. " * 40]
    found = gpt.encode(texts)
    for text, vector in zip(texts[:2], found, strict=False):
        ids = gpt.table.encode([text])[0]
        states = gpt.model.states(torch.tensor([[gpt.bos_id, *ids]]), looped=gpt.looped).final
        mean = states[0, 1:].mean(0).detach().numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert not found[2].any()
    last = gpt.table.encode([texts[3]])[0][-(gpt.model.seq_len - 1) :]
    states = gpt.model.states(torch.tensor([[gpt.bos_id, *last]]), looped=gpt.looped).final[0, 1:].mean(0)
    assert found[3] == pytest.approx((states / states.norm()).detach().numpy(), abs=1e-5)
    assert gpt.predict_next([texts[:2]]) == pytest.approx(gpt.encode([" ".join(texts[:2])]))
    gpt.layer = 0
    assert not np.allclose(gpt.encode(texts[:1]), found[:1])


def test_the_untrained_model_is_the_one_that_training_began_with(run: Path) -> None:
    examined = ScoredGPT(run, EvaluateOptions(budget=BUDGET))
    for name, tensor in initial_gpt(examined.settings).state_dict().items():
        assert torch.equal(tensor, examined.start.model.state_dict()[name]), name


def test_what_encoders_alone_are_asked_is_refused(run: Path) -> None:
    with pytest.raises(LangJepaError, match="beside, window_size of an evaluation have no effect on a GPT"):
        evaluate_run(run, EvaluateOptions(beside=["words"], window_size=4))


def test_sts_of_hidden_states(run: Path, shared_data: Path) -> None:
    report, _ = evaluate_run(run, EvaluateOptions(tasks="sts", data_dir=shared_data, budget=BUDGET))
    names = {row.name for row in report.rows if (row.task, row.split) == ("STS-B", "test")}
    assert {"model", "untrained", "chance"} <= names
    assert any(name.startswith("TF-IDF") for name in names)


def test_evaluate_of_the_command_line(run: Path, type_in: Type) -> None:
    def typed(*words: object) -> tuple[int, str]:
        ran = type_in(*words)
        return ran.status, ran.out + ran.err

    status, shown = typed("evaluate", str(run), "--tasks", "bits_per_byte")
    assert status == 0
    assert "5-gram" in shown
    scores = read_json(run / "scores.json", what="scores")
    assert "language model" in {row["task"] for row in scores["rows"]}
    assert scores["settings"]["tasks"] == ["bits_per_byte"]
    assert typed("evaluate", str(run), "--tasks", "stories") == (
        2,
        "error: unknown task stories: choose from bits_per_byte, quantised, retrieval, sts, probe, au\n",
    )
    assert typed("evaluate", str(run), "--beside", "words")[0] == 2


def test_generate_of_the_command_line(run: Path, type_in: Type, tmp_path: Path) -> None:
    def typed(*words: object, text: str = "") -> tuple[int, str]:
        ran = type_in("generate", *words, text=text)
        return ran.status, ran.out + ran.err

    beginning = ("--prompt", "The old man", "--tokens", "9")
    status, first = typed(str(run), *beginning)
    assert (status, first.startswith("The old man")) == (0, True)
    assert typed(str(run), *beginning) == (0, first)
    assert typed(str(run), "--tokens", "9", text="The old man\n") == (0, first)
    assert typed(str(run), *beginning, "--seed", "1") != (0, first)
    likeliest = typed(str(run), *beginning, "--temperature", "0")
    status, said = typed(str(run), *beginning, "--temperature", "0", "--seed", "7")
    assert (status, "--seed has no effect with --temperature 0" in said) == (2, True)
    assert typed(str(run), *beginning, "--top-k", "1") == likeliest
    assert typed(str(run), *beginning, "--top-p", "0.000001") == likeliest
    assert typed(str(run), *beginning, "--samples", "3")[1].count("--- ") == 3
    assert typed(str(run), "--prompt", "")[0] == 0
    status, said = typed(str(run), "--prompt", "much too long " * 30)
    assert status == 2
    assert "shorten it to 30 at most" in said
    status, said = typed(str(tmp_path), "--prompt", "x")
    assert status == 2
    assert "is not a run of a GPT" in said


def test_a_prompt_is_read_as_the_beginning_of_a_document(run: Path) -> None:
    """What follows is drawn from the model's own probabilities after BOS and the prompt."""
    gpt = TextGPT.load(run)
    ids = torch.tensor([[gpt.bos_id, *gpt.table.encode(["The boat"])[0]]])
    best = int(gpt.model(ids, looped=gpt.looped)[0, -1].argmax())
    (text,) = gpt.write("The boat", tokens=1, temperature=0)
    assert text == gpt.table.decode([*ids[0, 1:].tolist(), *([] if best == gpt.bos_id else [best])])
    with pytest.raises(LangJepaError, match="top_p"):
        gpt.write("The boat", tokens=1, top_p=2.0)


def test_tokens_are_the_very_ones_of_the_training_or_those_that_are_named(run: Path, tmp_path: Path) -> None:
    """A GPT from elsewhere decides no path: its settings are not followed to other tokens, and none are made."""
    _, settings, card = load_gpt(run)
    data, name = settings.data, card["corpus"]
    assert _own_tokens(data, name, None).identity == name
    corpus = Path(data.corpus_dir) / name
    foreign = data.model_copy(update={"corpus_dir": str(tmp_path / "away")})
    for other, known in ((foreign, name), (data.model_copy(update={"data_path": str(corpus)}), "another")):
        with pytest.raises(
            LangJepaError, match=r"trained on were not found \(.*\): name token shards or.*--corpus FOLDER"
        ):
            _own_tokens(other, known, None)
    assert _own_tokens(foreign, name, corpus).identity == name
    assert not (tmp_path / "away").exists()
