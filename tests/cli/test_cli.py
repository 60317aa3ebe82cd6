"""What every command promises: it starts fast, helps, and refuses mistakes with one message."""

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest

from lang_jepa.cli.app import sleep_where_busy
from lang_jepa.settings.recipes import recipe_names
from typed import Ran, Type, run_command


def test_importing_is_light() -> None:
    """Help and a user's typing mistake must not wait for torch."""
    code = (
        "import sys, lang_jepa, lang_jepa.cli.app, lang_jepa.settings.load;"
        "print([name for name in ('torch', 'transformers', 'datasets', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    assert run_command(sys.executable, "-c", code).out == "[]\n"


def test_a_text_is_encoded_without_what_only_other_verbs_need(trained: Path) -> None:
    code = (
        "import sys; from lang_jepa.cli.app import app;"
        f"sys.argv = ['', 'infer', {str(trained)!r}, '--text', 'A dog.'];"
        "app(standalone_mode=False);"
        "print([name for name in sys.argv_unwanted if name in sys.modules])"
    )
    heavy = ("datasets", "lightning", "sklearn", "matplotlib", "pandas", "pyarrow", "selectolax", "pypdf", "faiss")
    own = ("evaluation.tasks", "training.train", "inference.index", "data.sources.formats", "comparison.compare")
    unwanted = (*heavy, *(f"lang_jepa.{name}" for name in own))
    ran = run_command(sys.executable, "-c", code.replace("sys.argv_unwanted", repr(unwanted)))
    assert ran.out.endswith("\n[]\n"), ran.out


@pytest.mark.parametrize(
    ("load", "given", "policy"), [(0.4, None, None), (0.6, None, "PASSIVE"), (0.6, "ACTIVE", "ACTIVE")]
)
def test_threads_sleep_where_others_want_the_cores(
    load: float, given: str | None, policy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    monkeypatch.setattr("os.getloadavg", lambda: (load * (os.cpu_count() or 1), 9.0, 9.0))
    sleep_where_busy()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


def test_help_names_every_command(type_in: Type) -> None:
    ran = type_in("--help")
    assert ran.status == 0
    for name in ("train", "prepare", "evaluate", "infer", "quickstart", "recipes"):
        assert f" {name} " in ran.out
    assert {"concepts", "next_sentence"} <= set(type_in("recipes").out.split())


def test_every_recipe_says_what_it_is_for(type_in: Type) -> None:
    """On its own line; in the words of its file, so that a new one without a head comment fails here."""
    shown = [line for line in type_in("recipes").out.splitlines() if not line.endswith(":")]
    names = [line.split()[0] for line in shown]
    assert sorted(names) == sorted(recipe_names())
    for name, line in zip(names, shown, strict=True):
        assert len(line.split()) > 4, name
    assert "documents                 Your own documents, from scratch on a small machine" in "\n".join(shown)


def test_version_is_that_of_the_installed_package(type_in: Type) -> None:
    ran = type_in("--version")
    assert ran == Ran(0, f"lang-jepa {importlib.metadata.version('lang-jepa')}\n", "")


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
        (["trai"], "error: No such command 'trai'. Did you mean 'train'? See lang-jepa --help"),
        (["search", "index", "x", "--top-k", "0"], "error: Invalid value for '--top-k'"),
        (
            ["search", "index", "x", "--after", "--top-k", "3"],
            "--after wants a sentence of the context, and --top-k follows",
        ),
        (["serve", "run", "--timeout", "inf"], "--timeout must be a finite number of seconds, not inf"),
        (["shards", "in", "out", "--vocab-size", "9"], "error: Invalid value for '--vocab-size'"),
        (["export"], "error: Missing argument"),
        (["--nope"], "error: No such option: --nope"),
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
    done = run_command(sys.executable, "main_encoder.py")
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1
    for name in ("sample-10BT", "data.train_file=stories", "data.tokenizer_path", "model.pretrained=false"):
        assert name in done.err


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
    options: list[str], message: str, type_in: Type, tmp_path: Path
) -> None:
    done = type_in("compare", *options, "--output", tmp_path / "out")
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()
