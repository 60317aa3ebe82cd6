"""Fill a small disk and check that every writer reports it in one line, keeps the last good file and leaves no litter.

    python scripts/reliability/full_disk.py

Needs Linux and permission to mount: as root, or with user namespaces (`unshare -rm python ...`). Without it nothing is
tried, and the exit code is 3.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import DECODER_LAST, Made, check, tiny_decoder, tiny_gpt, tiny_settings, train

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.tokens.make_shards import make_shards
from lang_jepa.data.tokens.token_shards import write_shard
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.embedder import ArrayCache
from lang_jepa.evaluation.table import Report
from lang_jepa.export.export import export_run
from lang_jepa.export.gpt import write_quantised_gpt
from lang_jepa.export.quantise import Rounding
from lang_jepa.files.atomic import write_json, write_text
from lang_jepa.inference.cache import ConceptCache
from lang_jepa.inference.document_picture import draw_study
from lang_jepa.inference.gpt import load_gpt, save_gpt
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import Lines
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import join_model
from lang_jepa.settings.load import save_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint, save_checkpoint
from lang_jepa.training.metrics import COLUMNS, STEP, MetricsFile, draw_run, read_metrics
from lang_jepa.training.reporter import ExamplesFile, TensorBoard

Writer = Callable[[Path], Any]
SIZE = 48 * 2**20
NOT_RUN = 3
"""Exit code if nothing could be tried."""


class Disk:
    """A small file system in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True)

    def fill(self, left: int) -> None:
        """Fill the disk except for `left` bytes."""
        free = os.statvfs(self.place)
        with (self.place / "filler").open("wb") as file, suppress(OSError):
            wanted = free.f_bavail * free.f_frsize - left
            while wanted > 0:
                wanted -= file.write(bytes(min(wanted, 2**20)))
                file.flush()

    def clear(self) -> None:
        """Remove everything."""
        for entry in self.place.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def contents(self) -> dict[str, str]:
        """Return the hashes of all files except for the filler and locks."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.place.rglob("*"))
            if path.is_file() and path.name != "filler" and not path.name.endswith(".lock")
        }


def attempt(
    disk: Disk, name: str, write: Writer, left: int, failures: list[str], *, before: Writer | None = None
) -> None:
    """Run one writer on a disk with `left` bytes free; `before` makes the files that are already there."""
    disk.clear()
    target = disk.place / "out" / "file"
    target.parent.mkdir()
    if before is not None:
        before(target)
    there = disk.contents()
    disk.fill(left)
    try:
        write(target)
        said = "it was written"
    except LangJepaError as error:
        said = "" if "disk is full" in str(error) and "\n" not in str(error) else f"said: {error}"
    except Exception as error:  # noqa: BLE001  (any other exception is a finding)
        said = f"{type(error).__name__}: {str(error)[:200]}"
    after = disk.contents()
    changed = [path for path in there if after.get(path) != there[path]]
    litter = [path for path in after if path.endswith(".tmp")]
    check(f"{name}, {left:,} left", not (said or changed or litter), f"{said} {changed} {litter}", failures)


def many_rows(path: Path) -> None:
    """Write metrics until a page is full."""
    file = MetricsFile(path) if not path.exists() else MetricsFile.__new__(MetricsFile)
    file.path, file.columns = path, COLUMNS
    for step in range(200 if path.stat().st_size > 10_000 else 100):
        file.write({STEP: float(step)} | dict.fromkeys(COLUMNS[2:], 1.25))


def many_examples(path: Path) -> None:
    """Write examples until a page is full."""
    file = ExamplesFile(path, resume_step=10)
    file.write(1, ["An example of a context."] * 500)


def writers(made: Made, place: Path) -> dict[str, tuple[Writer, Writer | None]]:
    """Return every writer by name, with a writer of existing files if that case is to be tried as well."""
    model, (gpt, gpt_settings, card) = ConceptModel.load(made.encoder), load_gpt(made.gpt)
    states = {
        "encoder": load_checkpoint(made.encoder / LAST),
        "decoder": load_checkpoint(made.decoder / DECODER_LAST),
        "GPT": load_checkpoint(made.gpt / LAST),
    }
    for state in states.values():
        del state["format"], state["rounding"]
    corpus = prepare(tiny_settings(place / "unused").data)
    lines = place / "lines.txt"
    lines.write_text("".join(f"The cat saw {i} dogs.\n" for i in range(3000)))
    rows = read_metrics(made.encoder / "metrics.csv")
    text = " ".join(f"The cat saw {i} dogs." for i in range(12))
    data = tiny_settings(place / "unused").data

    def decoder_joins(path: Path) -> None:
        assert model.decoder is not None
        join_model(path, model.decoder, step=int(np.random.default_rng().integers(100)))

    def tensorboard(path: Path) -> None:
        board = TensorBoard(path)
        for step in range(2000):
            board.write(step, {"train/loss": 1.0})
        board.close()

    def report(path: Path) -> None:
        one = Report(rows=[], similarity={}, sources={"a": "b" * 5000}, settings={}, tools={})
        one.save(path)

    def prepared(path: Path) -> None:
        prepare(data.model_copy(update={"corpus_dir": str(path)}))

    save_own = {"save_tokenizer": model.tokenizer.save, "looped": (), "bos_id": card["bos_id"]}
    found: dict[str, tuple[Writer, bool]] = {
        "text": (lambda path: write_text(path, "x" * 9000), True),
        "JSON (summary, cards, --output)": (lambda path: write_json(path, ["x"] * 3000), True),
        "settings.yaml": (lambda path: save_settings(model.settings, path), True),
        "metrics.csv": (many_rows, False),
        "examples.txt, samples.txt": (many_examples, False),
        "run.png": (lambda path: draw_run(rows, path, title="run"), True),
        "document --plot": (lambda path: draw_study(study(model, text), path), True),
        "scores.json": (report, True),
        "statistics": (lambda path: model.statistics.save(path), True),
        "model directory": (lambda path: model.save(path), True),
        "model directory of a GPT": (lambda path: save_gpt(path, gpt, gpt_settings, **save_own), True),
        "quantised GPT": (
            lambda path: write_quantised_gpt(gpt, gpt_settings, card, path, Rounding()),
            True,
        ),
        "export to sentence-transformers": (
            lambda path: export_run(made.encoder, path, "sentence-transformers"),
            True,
        ),
        "export to onnx": (lambda path: export_run(made.encoder, path, "onnx"), True),
        "corpus": (prepared, False),
        "token shards": (lambda path: make_shards(data, path, shard_tokens=500), False),
        "one token shard": (lambda path: write_shard(path, np.ones(9000, np.int64)), True),
        "index": (lambda path: Index.build(model, Lines(lines), path), False),
        "approximate index": (lambda path: Index.build(model, Lines(lines), path, approximate=True), False),
        "results shared by evaluations": (
            lambda path: ArrayCache(path).take("key", lambda: {"a": np.ones(9000)}),
            False,
        ),
        "TensorBoard": (tensorboard, False),
    }
    for name, state in states.items():
        found[f"checkpoint of {name}"] = (lambda path, state=state: save_checkpoint(path, state), True)  # type: ignore[misc]

    def cached(path: Path) -> None:
        split = Corpus.open(path).train
        ConceptCache.open_or_make(model.jepa.encoder, make_plain_view(model.settings, split, model.tokenizer))

    def copied(path: Path) -> None:
        shutil.copytree(corpus.path, path, ignore=shutil.ignore_patterns("concepts"))

    def model_there(path: Path) -> None:
        shutil.copytree(made.encoder / "model", path)

    over = {name: (write, write if twice else None) for name, (write, twice) in found.items()}
    return {**over, "concept cache": (cached, copied), "decoder joins a model": (decoder_joins, model_there)}


def study(model: ConceptModel, text: str) -> Any:
    """Return what the document tools find in a text."""
    from lang_jepa.inference.document import study as run

    return run(model, text)


def whole_runs(made: Made) -> dict[str, Writer]:
    """Return complete training runs, by name."""
    return {
        "train an encoder": lambda path: train(tiny_settings(path)),
        "train a decoder": lambda path: train(tiny_decoder(path).of(made.encoder)),
        "train a GPT": lambda path: train(tiny_gpt(path)),
    }


def main() -> int:
    """Try all writers, and count."""
    torch.set_num_threads(1)
    failures, tried = list[str](), 0
    with tempfile.TemporaryDirectory(prefix="full-disk-") as folder:
        place = Path(folder) / "disk"
        place.mkdir()
        try:
            disk = Disk(place)
        except (OSError, subprocess.CalledProcessError):
            print("not run: needs to mount a small file system (as root, or by `unshare -rm`)")
            return NOT_RUN
        try:
            made = Made.make(Path(folder) / "made")
            for name, (write, before) in writers(made, Path(folder)).items():
                if name not in ("concept cache", "decoder joins a model"):
                    attempt(disk, name, write, 0, failures)
                if before is not None:
                    attempt(disk, name, write, 0, failures, before=before)
                tried += 1
            for name, write in whole_runs(made).items():
                for left in (0, 8192, 20_000, 60_000, 200_000):
                    attempt(disk, name, write, left, failures)
                tried += 1
        finally:
            # Unmount lazily, since a corpus that was read may still be mapped.
            subprocess.run(["umount", "-l", str(place)], check=True)
    failed = {name.split(",")[0] for name in failures}
    print(f"{tried - len(failed)} of {tried} clear")
    return bool(failures)


if __name__ == "__main__":
    raise SystemExit(main())
