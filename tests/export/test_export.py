"""Other tools say what the model says, for every family; the card is true; nothing else is overwritten."""

import json
import os
import sys
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from lang_jepa.cli import app as cli
from lang_jepa.data.text.masks import masked
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.export.export import export_run, list_files, push
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from tiny import tiny_settings

TEXTS = [
    "A dog barked.",
    "  Two spaces, then words.",
    "Zoë ate 3 käse 🙂",
    "Once more and again. " * 40,
    "no",
]
FAMILIES = ("bert", "roberta", "modernbert", "gpt2")
Make = Callable[..., Path]


def tokenizer_of(family: str) -> TextTokenizer:
    """For GPT-2 as GPT-2's own: no padding, no special tokens around a text, and a space wanted before it."""
    learnt = train_tokenizer(["the dog and the cat were there, and again once more. " * 5, *TEXTS], 320)
    if family != "gpt2":
        return learnt
    state = json.loads(learnt.backend.to_str())
    state["pre_tokenizer"]["add_prefix_space"], state["post_processor"] = False, None
    return TextTokenizer(Tokenizer.from_str(json.dumps(state)), {"eos": "</s>", "bos": "</s>"})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A model directory with weights that are nowhere zero or one."""

    def build(family: str, head: str = "linear", *more: str) -> Path:
        tokenizer = tokenizer_of(family)
        settings = tiny_settings(
            tmp_path / "run", f"model.architecture={family}", f"model.head={head}", "model.max_length=48", *more
        )
        torch.manual_seed(3)
        jepa = build_jepa(settings, tokenizer)
        with torch.no_grad():
            for parameter in jepa.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        ConceptModel(jepa, tokenizer, None, settings).save(tmp_path / "run" / "model", step=7, weights="target")
        return tmp_path / "run"

    return build


@pytest.mark.parametrize("family", FAMILIES)
def test_sentence_transformers_gives_the_same_vectors(family: str, make: Make, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    run = make(family, "none" if family == "bert" else "linear")
    export_run(run, tmp_path / "out", "sentence-transformers")
    loaded = library.SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=False)
    expected = ConceptModel.load(run).encode(TEXTS)
    assert np.abs(loaded.encode(TEXTS) - expected).max() < 1e-5
    assert np.abs(expected - np.roll(expected, 1, axis=0)).max() > 0.05, "all texts are alike: nothing is shown"
    assert loaded.max_seq_length == 48
    torch.seed()
    export_run(run, tmp_path / "again", "sentence-transformers")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert files[0] == files[1], "an export depends on chance"


@pytest.mark.parametrize("family", FAMILIES)
def test_onnx_gives_the_same_vectors(family: str, make: Make, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from transformers import AutoTokenizer

    run = make(family)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        export_run(run, tmp_path / "out", "onnx")
    assert [str(one.message) for one in warned] == []
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    model = ConceptModel.load(run)
    for texts in (TEXTS, TEXTS[:1], TEXTS[1:3]):
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        assert set(batch) == {"input_ids", "attention_mask"}
        (found,) = session.run(["sentence_embedding"], {name: batch[name].astype(np.int64) for name in batch})
        assert np.abs(found - model.encode(texts)).max() < 1e-4


def test_card_tells_settings_scores_and_limits(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    run = make("bert")
    row = {
        "task": "sts",
        "split": "test",
        "metric": "spearman",
        "n": 9,
        "similarity": "raw",
        "chosen": True,
        "note": "",
    }
    rows = [
        {**row, "name": "model", "value": 0.5, "low": 0.4, "high": 0.6},
        {**row, "name": "TF-IDF", "value": 0.7, "low": None, "high": None},
    ]
    (run / "scores.json").write_text(json.dumps({"rows": rows}))
    (run / "summary.json").write_text(json.dumps({"alarms": ["it has collapsed"]}))
    export_run(run, tmp_path / "out", "sentence-transformers", license="cc-by-4.0")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "| sts | test | spearman | model (raw) | 0.500 [0.400, 0.600] |" in card
    assert "| sts | test | spearman | TF-IDF (raw) | 0.700 |" in card
    assert "| `model.max_length` | 48 |" in card
    assert "it has collapsed" in card
    assert "compare by plain cosine" in card  # the model's own similarity is `centred`
    lacking = {name: value for name, value in rows[0].items() if name != "low"}
    for wrong, said in (
        ({"rows": [rows[1], lacking]}, r"row 1 lacks low"),
        ({"rows": [{**rows[0], "value": None}]}, r"row 0: value is None, not a number"),
        ({"rows": [{**rows[0], "interval": 1}]}, r"row 0 also has interval"),
        ({"scores": rows}, r"the report lacks rows"),
        (rows, r"the report is not an object"),
    ):
        (run / "scores.json").write_text(json.dumps(wrong))
        with pytest.raises(LangJepaError, match=rf"scores.json does not hold scores .*{said}\): score the model again"):
            export_run(run, tmp_path / "again", "sentence-transformers")
    (run / "scores.json").unlink()
    (run / "summary.json").write_text("[]")
    with pytest.raises(LangJepaError, match=r"summary.json is not the summary of a run"):
        export_run(run, tmp_path / "again", "sentence-transformers")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("to", ["sentence-transformers", "onnx"])
def test_the_card_says_what_is_masked_beforehand(to: str, make: Make, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers" if to == "sentence-transformers" else "onnxruntime")
    run = make("bert", "linear", "data.units=lines", "data.mask=true", r'data.mask_patterns=["user \\w+"]')
    done = export_run(run, tmp_path / "out", to)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Before encoding" in card
    code: dict[str, Any] = {}
    exec(card.split("```python\n")[2].split("```")[0], code)  # the second is the masks
    lines = ["user anna wrote /var/log/x at 12:04:31", "10.0.0.7 has 3 of 0xff"]
    assert [code["masked"](line) for line in lines] == masked(lines, ConceptModel.load(run).settings.data)
    assert code["masked"](lines[0]) == "<own> wrote <path> at <time>"
    assert [line.partition("\n")[0] for line in done.beforehand] == [
        "Give a line as it is, not cut into sentences.",
        "Write what differs from line to line as one word each, as in training:",
    ]


@pytest.mark.parametrize(
    ("speakers", "said"),
    [("none", "without the speaker's name"), ("prefix", "Begin each turn with its"), ("embedding", "never saw names")],
)
def test_the_card_says_what_becomes_of_names(speakers: str, said: str, make: Make, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    predictor = ("model.predictor=turn_transformer",) if speakers == "embedding" else ()
    run = make("bert", "linear", "data.units=turns", f"data.speakers={speakers}", *predictor)
    assert export_run(run, tmp_path / "out", "sentence-transformers").difference < 1e-5
    card = (tmp_path / "out" / "README.md").read_text()
    assert said in card
    assert "training saw single turns" in card
    assert (
        "## Before encoding"
        not in (export_run(make("bert"), tmp_path / "plain", "sentence-transformers").folder / "README.md").read_text()
    )


def test_what_is_no_export_is_not_replaced(make: Make, tmp_path: Path) -> None:
    run = make("bert")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(LangJepaError, match="not empty and is not an export"):
        export_run(run, tmp_path / "mine", "sentence-transformers")
    with pytest.raises(LangJepaError, match="use one of sentence-transformers, onnx"):
        export_run(run, tmp_path / "new", "tensorflow")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "new").exists()


def test_a_push_without_network_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LangJepaError, match="write owner/model"):
        push(tmp_path, "a name", private=True)
    with pytest.raises(LangJepaError, match="could not be uploaded to someone/model"):
        push(tmp_path, "someone/model", private=True)


def test_dry_run_lists_files_and_sends_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Offline, so that anything sent would be an error."""
    pytest.importorskip("sentence_transformers")
    words = [
        "export",
        str(make("bert")),
        str(tmp_path / "out"),
        "--push-to-hub",
        "someone/model",
        "--dry-run",
    ]
    monkeypatch.setattr(sys, "argv", ["lang-jepa", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    said = capsys.readouterr().out
    listed = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in said.splitlines() if line[:2] == "  "}
    assert listed == dict(list_files(tmp_path / "out"))
    assert {"modules.json", "model.safetensors", "README.md", "tokenizer.json"} <= set(listed)


@pytest.mark.slow
def test_real_weights(minilm: Path, tmp_path: Path) -> None:
    """MiniLM with its own tokenizer (lower-casing, [CLS] and [SEP])."""
    pytest.importorskip("sentence_transformers")
    settings = tiny_settings(
        tmp_path / "run",
        f"data.tokenizer_path={minilm}",
        "model.pretrained=true",
        "model.embed_dim=384",
        "model.pred_dim=384",
    )
    tokenizer = TextTokenizer.load(str(minilm))
    ConceptModel(build_jepa(settings, tokenizer), tokenizer, None, settings).save(tmp_path / "model")
    done = export_run(tmp_path / "model", tmp_path / "out", "sentence-transformers")
    assert done.difference < 1e-5


@pytest.mark.network
def test_a_real_push(make: Make, tmp_path: Path) -> None:
    """To a private repository of the account whose token HF_TOKEN holds, removed afterwards."""
    pytest.importorskip("sentence_transformers")
    if not os.environ.get("HF_TOKEN"):
        pytest.skip("HF_TOKEN is not set")
    from huggingface_hub import HfApi

    api = HfApi()
    name = f"{api.whoami()['name']}/lang-jepa-test-{uuid.uuid4().hex[:8]}"
    done = export_run(make("bert"), tmp_path / "out", "sentence-transformers")
    try:
        push(done.folder, name, private=True)
        assert {file for file, _ in done.files} <= set(api.list_repo_files(name))
    finally:
        api.delete_repo(name, missing_ok=True)
