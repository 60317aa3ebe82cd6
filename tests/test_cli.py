"""The commands as people type them: what they leave behind, what they print, and how they refuse."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lang_jepa import cli
from lang_jepa.evaluation import evaluate
from lang_jepa.evaluation.evaluate import Budget
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.metrics import read_metrics
from tiny import environment

ROOT = Path(__file__).parents[1]
NAMES = ("Anna", "Ben", "Carla", "Dan", "Eva", "Finn", "Greta", "Hugo")
PLACES = ("garden", "market", "river", "school", "kitchen", "harbour", "forest")
THINGS = ("apple", "book", "lamp", "kite", "bicycle", "basket", "letter")


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Type = Callable[..., Ran]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few dozen documents, a file of sentences, and tiny stsb/ and sst2/."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "texts").mkdir()
    for i in range(48):
        name, spot, thing = NAMES[i % 8], PLACES[i % 7], THINGS[i * 3 % 7]
        (folder / "texts" / f"{i}.txt").write_text(
            f"{name} walked to the {spot} on day {i} of the year. There {name} saw {i + 3} pieces of a {thing}. "
            f"Nobody in house {i} knew who had lost the {thing}. In the end {name} kept it for {i * 2 + 1} weeks."
        )
    (folder / "sentences.txt").write_text(
        "".join(f"The {t} is in the {s}.\n" for t, s in zip(THINGS, PLACES, strict=True))
    )
    for part in ("train", "dev", "test"):
        for task in ("stsb", "sst2"):
            (folder / task).mkdir(exist_ok=True)
        pairs = [
            f'"The {t} is here.","A {t} was {"here" if i % 2 else "sold"}.",{i % 6}'
            for i, t in enumerate(THINGS * 2)
        ]
        (folder / "stsb" / f"{part}.csv").write_text("\n".join(pairs) + "\n")
        rows = [f"{i % 2}\tthe {t} is {'good' if i % 2 else 'bad'}" for i, t in enumerate(THINGS * 2)]
        (folder / "sst2" / f"{part}.tsv").write_text("\n".join(["label\tsentence", *rows]) + "\n")
    return folder


def _options(place: Path, run: str, *more: str) -> list[str]:
    """`-o` options of a tiny model on the documents of `place`."""
    settings = (
        f"data.train_file={place / 'texts'}",
        f"data.corpus_dir={place / 'corpora'}",
        f"logging.log_dir={place / run}",
        "data.tokenizer_path=trained",
        "data.vocab_size=400",
        "data.prepare_workers=1",
        "data.num_workers=0",
        "model.pretrained=false",
        "model.embed_dim=32",
        "model.pred_dim=32",
        "model.num_heads=2",
        "model.predictor_heads=2",
        "model.num_layers=1",
        "model.max_length=64",
    )
    return [part for setting in (*settings, *more) for part in ("-o", setting)]


def _run(*command: str | Path, text: str = "") -> Ran:
    """A command in a process of its own, from the project's root."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=environment(_path()),
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def _path() -> dict[str, str]:
    """This Python's commands first, as in an activated environment."""
    return {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """The run directory of `python main_encoder.py --debug`."""
    done = _run(
        sys.executable, "main_encoder.py", "--debug", *_options(place, "run", "optimization.max_steps=12")
    )
    assert done.status == 0, done.err
    assert "lang-jepa evaluate" in done.out
    assert done.err == ""  # no bars and no warnings of libraries
    return place / "run"


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """`lang-jepa ...` in this process."""

    def run(*arguments: str | Path, text: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["lang-jepa", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return Ran(status, *capsys.readouterr())

    return run


def test_importing_is_light() -> None:
    """Help and a user's typing mistake must not wait for torch."""
    code = (
        "import sys, lang_jepa, lang_jepa.cli, lang_jepa.settings;"
        "print([name for name in ('torch', 'transformers', 'datasets', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    assert _run(sys.executable, "-c", code).out == "[]\n"


def test_help_names_every_command(type_in: Type) -> None:
    ran = type_in("--help")
    assert ran.status == 0
    for name in ("train", "prepare", "evaluate", "infer", "quickstart", "recipes"):
        assert f" {name} " in ran.out
    assert {"concepts", "next_sentence"} <= set(type_in("recipes").out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "-o", "data.limt=3"], "data.limt: unknown setting; did you mean 'limit'?"),
        (["train", "-o", "data.limit=many"], "data.limit"),
        (["train", "-o", "limit"], "not of the form section.key=value"),
        (["train", "nosuch"], "no recipe named 'nosuch'"),
        (["train", "--overide", "data.limit=3"], "No such option: --overide"),
        (["train", "-o", "data.tokenizer_path=trained"], "trained comes without weights"),
        (["train", "-o", "data.train_file=/no/such.txt"], "there is no file or folder '/no/such.txt'"),
        (["evaluate", "/no/run"], "no model at /no/run"),
        (["infer", "/no/run", "--text", "x"], "no model at /no/run"),
        (["trai"], "Did you mean 'train'?"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(arguments: list[str], message: str, type_in: Type) -> None:
    ran = type_in(*arguments)
    assert ran.status == 2
    assert message in ran.err
    assert "Traceback" not in ran.out + ran.err


def test_defaults_without_a_hub(type_in: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python main_encoder.py` on a machine without a network: what to set, all of it, before torch is imported."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = _run(sys.executable, "main_encoder.py")
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1
    for name in ("sample-10BT", "data.train_file=stories", "data.tokenizer_path", "model.pretrained=false"):
        assert name in done.err


def test_a_run_directory_holds_what_is_promised(trained: Path) -> None:
    files = {path.name for path in trained.iterdir()}
    assert {"settings.yaml", "metrics.csv", "run.png", "summary.json", "examples.txt", LAST} <= files
    model = {path.name for path in (trained / "model").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "predictor.safetensors",
        "tokenizer.json",
        "settings.yaml",
    } <= model
    assert {path.stat().st_mode for path in (trained / "model").iterdir()} == {
        (trained / "settings.yaml").stat().st_mode
    }
    assert (trained / "run.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["steps"], summary["total"], summary["interrupted"]) == (12, 12, False)
    steps = [row["train/step"] for row in read_metrics(trained / "metrics.csv") if "train/loss" in row]
    assert steps == list(range(1, 13))  # --debug logs every step


def test_overrides_of_every_kind(place: Path, trained: Path, type_in: Type) -> None:
    """A recipe of one's own, a value with `=`, null, and a later option that wins."""
    recipe = place / "own recipe.yaml"
    recipe.write_text("data: {limit: 30, val_fraction: 0.2}\noptimization: {max_steps: 9}\n")
    more = _options(
        place, "a=b", "optimization.max_steps=9", "optimization.clip_grad=null", "optimization.max_steps=2"
    )
    ran = type_in("train", recipe, *more)
    assert ran.status == 0, ran.err
    settings = (place / "a=b" / "settings.yaml").read_text()
    assert "clip_grad: null" in settings
    assert "limit: 30" in settings
    assert json.loads((place / "a=b" / "summary.json").read_text())["steps"] == 2


def test_prepare_tells_and_reuses(place: Path, trained: Path, type_in: Type) -> None:
    options = _options(place, "run", "data.val_fraction=0.25")
    assert "prepared " in type_in("prepare", *options).out
    again = type_in("prepare", *options)
    assert "is up to date" in again.out
    assert "48" in again.out
    assert "next-sentence pairs" in again.out


def test_evaluate_writes_scores_beside_baselines(place: Path, trained: Path, type_in: Type) -> None:
    ran = type_in("evaluate", trained, "--tasks", "retrieval")
    assert ran.status == 0, ran.err
    for name in ("untrained", "TF-IDF", "chance", "recall@1"):
        assert name in ran.out
    rows = json.loads((trained / "scores.json").read_text())["rows"]
    chance = [row for row in rows if row["name"] == "chance" and row["metric"] == "recall@1"]
    assert all(0 < row["value"] < 0.5 for row in chance)
    assert type_in("evaluate", trained, "--tasks", "stsb").err.startswith(
        "error: unknown task stsb: choose from sts"
    )


def test_eval_script_of_the_original(place: Path, trained: Path) -> None:
    done = _run(
        sys.executable, "scripts/eval_representations.py", "--checkpoint", trained / LAST, "--tasks", "sts,probe,au",
        "--data-dir", place, "--output", place / "public.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.err == ""
    rows = json.loads((place / "public.json").read_text())["rows"]
    assert {row["task"] for row in rows} >= {"STS-B", "SST-2"}
    assert "Spearman" in done.out
    assert "accuracy" in done.out


def test_infer_script_of_the_original(place: Path, trained: Path) -> None:
    """A sentence of the corpus finds itself first, with cosine 1, and the others follow in order."""
    sentences = (place / "sentences.txt").read_text().splitlines()
    done = _run(
        sys.executable, "scripts/infer.py", f"--encoder-checkpoint={trained / LAST}", "--corpus", place / "sentences.txt",
        "--top-k", "5", text=f"{sentences[3]}\n",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.err == ""
    _, text, concept, *lines = done.out.splitlines()
    assert text == sentences[3]
    assert concept.startswith("  concept [32]: ")
    found = [line.split(maxsplit=1) for line in lines]
    scores = [float(score) for score, _ in found]
    assert found[0] == ["1.0000", sentences[3]]
    assert scores == sorted(scores, reverse=True)
    assert len(found) == 5
    assert {sentence for _, sentence in found} <= set(sentences)


DECODER = ("decoder.hidden_dim=32", "decoder.num_layers=1", "decoder.max_length=16")


@pytest.fixture(scope="module")
def decoder(place: Path, trained: Path) -> Path:
    """The run directory of `python main_decoder.py --debug`, which finds the encoder by itself."""
    user = place / "decoding"
    (user / "logs").mkdir(parents=True)
    shutil.copytree(trained, user / "logs" / "mine")
    small = [part for setting in DECODER for part in ("-d", setting)]
    done = subprocess.run(
        [sys.executable, ROOT / "main_decoder.py", "--debug", *small],
        cwd=user, env=environment(_path()), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("encoder: logs/mine, the latest run here")
    assert "reconstruction" in done.stdout
    return user / "outputs" / "decoder"


def test_decoding_under_the_old_names(trained: Path, decoder: Path) -> None:
    def told(*options: str) -> list[str]:
        done = _run(
            sys.executable, "scripts/infer.py", "--encoder-checkpoint", trained / LAST,
            f"--decoder-checkpoint={decoder / 'best_decoder.pt'}", "--text", "The lamp is in the garden.", *options,
        )  # fmt: skip
        assert done.status == 0, done.err
        return [line for line in done.out.splitlines() if line.startswith("  decoded: ")]

    drawn = told("--sample", "--temperature", "0.8", "--top-p", "0.9", "--seed", "1")
    assert len(drawn) == 1
    assert drawn == told("--sample", "--temperature", "0.8", "--top-p", "0.9", "--seed", "1")


def test_decoding_and_continuing(trained: Path, decoder: Path, type_in: Type) -> None:
    run = decoder.parents[1] / "logs" / "mine"
    beams, greedy = (
        type_in("infer", run, "--decode", "--text", "The lamp is here.", *more).out
        for more in (("--beams", "1"), ())
    )
    assert beams == greedy
    assert "  decoded: " in greedy
    ran = type_in("infer", run, "--context", "Anna walked to the garden.", "--continue", "2", "--beams", "3")
    assert ran.status == 0, ran.err
    assert len([line for line in ran.out.splitlines() if not line.startswith("           ")]) == 2
    assert "choose one" in type_in("infer", run, "--decode", "--sample", "--beams", "2", "--text", "x").err
    assert "at least one --context" in type_in("infer", run, "--continue", "1").err
    assert "train concept_decoder" in type_in("infer", trained, "--decode", "--text", "x").err
    assert "belong to the recipe of a decoder" in type_in("train", "concepts", "--encoder", run).err


def test_a_decoder_of_the_encoder_before_its_first_step(decoder: Path, type_in: Type) -> None:
    run = decoder.parents[1] / "logs" / "mine"
    folder = decoder.with_name("control")
    small = [part for setting in (*DECODER, f"training.output_dir={folder}") for part in ("-d", setting)]
    ran = type_in("train", "concept_decoder", "--debug", "--encoder", run, "--untrained", *small)
    assert ran.status == 0, ran.err
    assert (run / "untrained" / "decoder.safetensors").is_file()
    assert f"joined           {run / 'untrained'}" in ran.out
    assert "belong to the recipe of a decoder" in type_in("train", "concepts", "--untrained").err


def test_quickstart(place: Path, type_in: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part of it, small: the tables with all rows, samples, what was expected, and what was imagined."""
    budget = Budget(queries=30, stories=8, train_stories=20, paraphrases=60, decoded=40)
    monkeypatch.setattr(evaluate, "QUICK", budget)
    options = (
        "optimization.max_steps=2",
        "data.limit=60",
        "data.train_file=stories",
        "data.val_fraction=0.2",
    )
    decoding = [part for setting in (*DECODER, "training.max_steps=80") for part in ("-d", setting)]
    ran = type_in("quickstart", *_options(place, "quick", *options), *decoding)
    assert ran.status == 0, ran.err
    for shown in ("told event, heldout", "told event, unseen", "zero concept", "nearest training"):
        assert shown in ran.out, shown
    assert ran.out.count("reconstruction  ") >= 3
    assert ran.out.count("imagined (") == 3
    for name in ("model/decoder.safetensors", "scores.json"):
        assert (place / "quick" / name).is_file(), name
    assert f"lang-jepa infer {place / 'quick'} --context" in ran.out


def test_infer_ranks_continuations_and_refuses_nothing(place: Path, trained: Path, type_in: Type) -> None:
    candidates = (place / "sentences.txt").read_text().splitlines()
    options = [part for text in candidates for part in ("--candidate", text)]
    ran = type_in("infer", trained, "--context", "Anna walked to the garden.", *options)
    assert ran.status == 0, ran.err
    scores, texts = zip(*(line.split(maxsplit=1) for line in ran.out.splitlines()), strict=True)
    assert sorted(texts) == sorted(candidates)
    assert list(map(float, scores)) == sorted(map(float, scores), reverse=True)
    assert "standard input held no text" in type_in("infer", trained, text="\n \n").err
    assert "at least one --context" in type_in("infer", trained, "--candidate", "x").err


def test_ctrl_c_saves_and_resume_goes_on(place: Path, trained: Path, type_in: Type) -> None:
    """The interrupt of a terminal reaches loader processes too; the run alone decides when it ends."""
    options = _options(
        place, "long", "optimization.max_steps=200", "data.val_fraction=0.2", "data.limit=50", "data.batch_size=4",
        "data.num_workers=2", "logging.eval_freq=200", "logging.checkpoint_steps=3",
    )  # fmt: skip
    command = [sys.executable, "main_encoder.py", *options]
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (place / "long" / LAST).is_file():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline, "no checkpoint after a minute"
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, err) == (0, "")
    assert "of 200; go on with --resume" in out
    stopped = load_checkpoint(place / "long" / LAST)["step"]
    assert 0 < stopped < 200
    ran = type_in("train", "--resume", *options)
    assert ran.status == 0, ran.err
    rows = read_metrics(place / "long" / "metrics.csv")
    assert json.loads((place / "long" / "summary.json").read_text())["steps"] == 200
    assert [row["train/step"] for row in rows if "train/loss" in row] == list(range(50, 201, 50))


def test_launching_two_processes(place: Path, trained: Path) -> None:
    """They train as one run, and one of them speaks."""
    options = _options(place, "two", "optimization.max_steps=3")
    done = _run("scripts/launch_encoder.sh", "2", "--debug", *options)
    assert done.status == 0, done.err
    assert done.out.count("lang-jepa evaluate") == 1
    assert done.out.count("held-out data;") == 1
    assert load_checkpoint(place / "two" / LAST)["world"] == 2
    assert _run("scripts/launch_encoder.sh", "none").status == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["concepts", "--budget", "steps=5"], "needs at least two variants"),
        (["concepts", "documents", "--budget", "hours=5"], "give steps=2000, minutes=10 or flops=1e15"),
        (["concepts", "documents", "--budget", "steps=5", "--seeds", "0"], "--seeds 0"),
        (
            ["concepts", "documents", "--budget", "steps=5", "-o", "data.val_fraction=0"],
            "concepts holds nothing out",
        ),
    ],
)
def test_compare_names_mistakes_before_it_makes_anything(
    options: list[str], message: str, tmp_path: Path
) -> None:
    done = _run("lang-jepa", "compare", *options, "--output", tmp_path / "out")
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()
