"""Preparation in tasks: the corpus of one process, whoever is killed, and nothing finished is done again."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import killing
import pytest
from texts import SMALL, text_of, write_rows

from lang_jepa.data.corpus import tasks
from lang_jepa.data.corpus.prepare import Submitted, prepare
from lang_jepa.data.corpus.tasks import Executor
from lang_jepa.data.sources import base
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

pytest.importorskip("datatrove")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of JSON lines with repeated ids, copies across parts and near copies, and a folder of texts."""
    folder = tmp_path_factory.mktemp("source")
    rows = [text_of(n) for n in range(60)]
    rows[41], rows[50] = rows[3], f"{rows[7]} And one sentence more than there was before."
    write_rows(folder / "a.jsonl", rows[:30], [n % 25 for n in range(30)])
    write_rows(folder / "b.jsonl", rows[30:], list(range(20, 50)))
    with (folder / "b.jsonl").open("a") as file:
        file.write('{"text": null}\n{"text": ""}\n{"text": null}\n')
    (folder / "texts").mkdir()
    (folder / "page.md").write_text(f"# A page\n\n{text_of(90)}\n\n```\ncode\n```\n")
    for n in range(6):
        (folder / "texts" / f"{n}.txt").write_text(text_of(100 + n))
    return folder


def settings_of(source: Path, place: Path) -> DataSettings:
    made = {"tokenizer_path": "trained", "vocab_size": 350, "val_fraction": 0.2, "min_length": 1}
    return DataSettings(train_file=str(source), corpus_dir=str(place), limit=None, prepare_workers=1, **made)


def contents(corpus: Path) -> dict[str, bytes]:
    """Every file, and the manifest without its times."""
    found = {file.name: file.read_bytes() for file in corpus.rglob("*") if file.is_file()}
    manifest = json.loads(found.pop("manifest.json"))
    return {**found, "manifest": json.dumps({**manifest, "timing": 0, "fingerprint": 0}).encode()}


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "SIZE", killing.SIZE)
        place = settings_of(source, tmp_path_factory.mktemp("whole"))
        corpus = prepare(place, block_size=SMALL, shard_tokens=killing.SHARD_TOKENS)
    assert [len(corpus.manifest["shards"][side]) for side in ("train", "validation")] == [2, 1]
    found = contents(corpus.path)
    lines = [json.loads(line) for line in found["duplicates.jsonl"].splitlines()]
    statistics = json.loads(found["manifest"])["statistics"]
    assert (statistics["rejected"], statistics["left_out"]) == ({"null text": 2, "empty text": 1}, {"code blocks": 1})
    assert {line["kind"] for line in lines} == {"exact duplicate", "near duplicate"}
    assert sorted(line["original"] for line in lines) == ["row-3@a.jsonl:3", "row-7"]  # found across parts
    return found


def run(
    source: Path, place: Path, kind: str, who: str, unit: int, stage: str = "parts"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, killing.__file__, settings_of(source, place).model_dump_json(), kind, who]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": "local"}
    return subprocess.run(
        [*command, str(place / "flag"), stage, str(unit)], env=environment, check=False, capture_output=True, text=True,
        timeout=170,
    )  # fmt: skip


def corpus_in(place: Path) -> Path:
    (manifest,) = place.glob("*/manifest.json")
    return manifest.parent


@pytest.mark.parametrize(
    ("who", "stage", "unit"),
    [
        ("nobody", "parts", 0),
        ("worker", "parts", 4),
        ("driver", "parts", 4),
        ("worker", "half", 2),
        ("driver", "shards", 2),
    ],
)
def test_tasks_of_this_machine(
    source: Path, whole: dict[str, bytes], tmp_path: Path, who: str, stage: str, unit: int
) -> None:
    first = run(source, tmp_path, "local", who, unit, stage)
    if who == "driver":
        assert first.returncode == -signal.SIGKILL
    elif who == "worker":
        assert first.returncode == 1
        assert re.search(r"[12] of 2 tasks did not finish \(BrokenProcessPool", first.stderr)
        assert "resumes what is unfinished" in first.stderr
    if who != "nobody":
        assert not list(tmp_path.glob("*/manifest.json"))
        again = run(source, tmp_path, "local", who, unit, stage)
        assert again.returncode == 0, again.stderr
    assert contents(corpus_in(tmp_path)) == whole
    check_made(tmp_path)


def check_made(place: Path) -> None:
    """Nothing that was finished was done again: no part, no decision, no shard."""
    made = (place / "made.txt").read_text().splitlines()
    assert sorted(made) == sorted(set(made))
    assert {"part-000000.json", "decisions", "shard 0", "shard 1", "shard 2"} <= set(made)


@pytest.mark.parametrize(("who", "stage"), [("worker", "half"), ("node", "parts")])
def test_tasks_on_ray(source: Path, whole: dict[str, bytes], tmp_path: Path, who: str, stage: str) -> None:
    """What is lost runs again elsewhere, without a second start."""
    pytest.importorskip("ray")
    ran = run(source, tmp_path, "ray", who, 2 if stage == "half" else 1, stage)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "flag").exists(), "nobody was killed"
    assert contents(corpus_in(tmp_path)) == whole
    check_made(tmp_path)


SBATCH = """#!/bin/sh
# Stands for Slurm: runs each task of the array that is submitted, after those before it, and says a number.
n=$(ls {folder} | wc -l)
for last in "$@"; do :; done
cp "$last" {folder}/$n.sh
echo "$@" > {folder}/$n.args
bash -n "$last" || exit 1
echo "Submitted batch job $((100 + n))"
"""


def test_jobs_of_slurm(source: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arrays, and a job after each, which wait for each other; run in that order they make the corpus."""
    monkeypatch.setattr(base, "SIZE", killing.SIZE)
    monkeypatch.setattr(tasks, "SIZE", killing.SIZE)
    jobs, tools = tmp_path / "jobs", tmp_path / "tools"
    jobs.mkdir()
    tools.mkdir()
    (tools / "sbatch").write_text(SBATCH.format(folder=jobs))
    (tools / "srun").write_text(
        '#!/bin/sh\nwhile [ "${1#-}" != "$1" ] || [ "$1" -eq 1 ] 2>/dev/null; do shift; done\nexec "$@"\n'
    )
    (tools / "scontrol").write_text("#!/bin/sh\necho node1\n")
    for tool in tools.iterdir():
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]))
    options = {"time": "01:00:00", "partition": "cpu", "account": "text"}
    place = tmp_path / "corpora"
    with pytest.raises(Submitted) as submitted:
        executor = Executor("slurm", 3, 2, options)
        prepare(settings_of(source, place), block_size=SMALL, shard_tokens=killing.SHARD_TOKENS, executor=executor)
    assert not submitted.value.target.exists()
    jobs_in_order = sorted(jobs.glob("*.sh"), key=lambda path: int(path.stem))
    scripts = [path for path in jobs_in_order if "launch_pickled_pipeline" in path.read_text()]
    lines = [path.read_text().splitlines() for path in scripts]
    for array in lines[::2]:
        assert {"#SBATCH --array=0-2%2", "#SBATCH --account=text", "#SBATCH --requeue"} <= set(array)
    for name, one in zip(("blocks", "decide", "shards", "finish"), lines, strict=True):
        assert f"#SBATCH --job-name=lang-jepa-{name}" in one
    said = [path.with_suffix(".args").read_text() for path in scripts]
    assert "--dependency" not in said[0]
    for before, args in zip(scripts, said[1:], strict=False):
        assert f"--dependency=afterok:{100 + int(before.stem)}" in args
    for script, numbers in zip(scripts, (range(3), range(1), range(3), range(1)), strict=True):
        for number in numbers:
            environment = {
                **os.environ,
                "SLURM_ARRAY_TASK_ID": str(number),
                "SLURM_NODELIST": "node1",
                "RUN_OFFSET": "0",
            }
            ran = subprocess.run(["bash", script], env=environment, check=False, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stderr[-2000:]
    assert contents(submitted.value.target) == whole, "the last job planned other parts"


@pytest.mark.parametrize(
    ("executor", "changes", "said"),
    [
        (Executor("slurm", 2, None, {"time": "1", "partition": "a"}), {}, "there is no sbatch here"),
        (Executor("slurm", 2, None, {"time": "1:00"}), {}, "set partition, for example --slurm time"),
        (Executor("local", 2, None, {"time": "1:00"}), {}, "--slurm has no effect with --executor local"),
        (Executor("local", 2), {"limit": 5}, "data.limit counts documents from the first one on"),
        (Executor("local", 2), {"join_rows": 3}, "can only be read from its beginning"),
        (Executor("ray", 2), {"corpus_dir": "s3://texts/corpora"}, "export LANG_JEPA_CACHE=/shared/lang-jepa"),
    ],
)
def test_what_tasks_cannot_do_is_refused(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: Executor,
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.delenv("LANG_JEPA_CACHE", raising=False)
    settings = settings_of(source, tmp_path).model_copy(update=changes)
    with pytest.raises(LangJepaError, match=re.escape(said)):
        prepare(settings, executor=executor)
    assert not list(tmp_path.glob("*/blocks/*"))


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "find_spec", lambda name: None if name == "ray" else object())
    with pytest.raises(LangJepaError, match=r'--executor ray needs ray.*pip install "lang-jepa\[cluster\]"'):
        Executor("ray", 2).check()


def test_stories_in_tasks(tmp_path: Path) -> None:
    """The built-in corpus has a limit, and parts all the same."""
    made = {"tokenizer_path": "trained", "vocab_size": 400, "min_length": 1, "prepare_workers": 1}
    one, many = (DataSettings(train_file="stories", limit=1200, corpus_dir=str(tmp_path / n), **made) for n in "ab")
    assert contents(prepare(one).path) == contents(prepare(many, executor=Executor("local", 2)).path)


def test_a_task_that_fails_says_so(source: Path, tmp_path: Path) -> None:
    """The mistake of a file stands in the message; the other tasks end, and the next start goes on."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "texts"
    folder.mkdir()
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True, "write_statistics": False}
    for name in ("a", "b"):
        rows = pa.table({"text": [f"{name} {text_of(n)}" for n in range(300)]})
        pq.write_table(rows, folder / f"{name}.parquet", row_group_size=150, **plain)
    content = bytearray((folder / "b.parquet").read_bytes())
    content[content.index(b"number 7 ")] ^= 1
    (folder / "b.parquet").write_bytes(content)
    settings = settings_of(folder, tmp_path / "corpora").model_copy(
        update={"tokenizer_path": str(_tokenizer(tmp_path)), "units": "lines", "min_sentences": 1}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "SIZE", 1)
        patch.setattr(base, "SIZE", 1)
        with pytest.raises(LangJepaError, match=r"1 of 4 tasks did not finish .*b\.parquet:row group 0 .*is damaged"):
            prepare(settings, executor=Executor("local", 4, 1))


def _tokenizer(folder: Path) -> Path:
    from lang_jepa.data.text.tokenizer import train_tokenizer

    (folder / "tokenizer").mkdir()
    train_tokenizer([text_of(n) for n in range(20)], 350).save(folder / "tokenizer")
    return folder / "tokenizer"
