"""Data of the public tasks: from a user's folder, else from the hub, else an error that says what to do."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lang_jepa.errors import LangJepaError, check_extra

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

STSB_ON_HUB = (("mteb/stsbenchmark-sts", 1.0), ("sentence-transformers/stsb", 5.0))  # name, factor to 0..5
SST2_ON_HUB = "stanfordnlp/sst2"


@dataclass(frozen=True)
class StsPairs:
    """One split of the STS benchmark: sentence pairs with a similarity from 0 to 5, [n] each."""

    split: Split
    first: list[str]
    second: list[str]
    scores: list[float]

    def sentences(self) -> list[str]:
        """Return the distinct sentences, in order of appearance."""
        return list(dict.fromkeys([*self.first, *self.second]))


@dataclass(frozen=True)
class Labelled:
    """One split of a classification task: sentences and integer labels, [n] each."""

    split: Split
    sentences: list[str]
    labels: list[int]


@dataclass(frozen=True)
class TaskData:
    """The splits of a task and their source, which is printed beside its scores."""

    splits: dict[Split, Any]
    source: str


def find_stsb(data_dir: Path | None) -> TaskData:
    """Load the STS benchmark from `DATA_DIR/stsb/{train,dev,test}.csv` (no header), or from the hub if it is None.

    Raises:
        LangJepaError: `data_dir` is given and a file is missing or damaged, or the hub cannot be reached.
    """
    if data_dir is not None:
        return _from_folder(Path(data_dir), "stsb", "csv", read_sts)
    failures: list[str] = []
    for name, factor in STSB_ON_HUB:
        found = _from_hub(name, failures)
        if found is not None:
            splits: dict[Split, Any] = {}
            for split, part in found.items():
                scores = [factor * float(score) for score in part["score"]]
                splits[split] = StsPairs(split, list(part["sentence1"]), list(part["sentence2"]), scores)
            return TaskData(splits, f"hub: {name}")
    raise _no_data("STS-B", "stsb/{train,dev,test}.csv", failures)


def find_sst2(data_dir: Path | None) -> TaskData:
    """Load SST-2 from `DATA_DIR/sst2/{train,dev,test}.tsv` (header with label and sentence or content), or the hub.

    The hub's test labels are hidden (-1), so the hub only gives train and dev.

    Raises:
        LangJepaError: as in `find_stsb`.
    """
    if data_dir is not None:
        return _from_folder(Path(data_dir), "sst2", "tsv", read_labelled)
    failures: list[str] = []
    found = _from_hub(SST2_ON_HUB, failures)
    if found is None:
        raise _no_data("SST-2", "sst2/{train,dev,test}.tsv", failures)
    splits: dict[Split, Any] = {}
    for split, part in found.items():
        labels = [int(label) for label in part["label"]]
        if min(labels) >= 0:
            splits[split] = Labelled(split, list(part["sentence"]), labels)
    return TaskData(splits, f"hub: {SST2_ON_HUB}")


def read_sts(path: Path, split: Split) -> StsPairs:
    """Read `sentence1,sentence2,score` rows without a header.

    Raises:
        LangJepaError: file missing or empty, or a row is not two sentences and a number from 0 to 5 (with its line).
    """
    pairs = StsPairs(split, [], [], [])
    with _open(path) as lines:
        for row in (reader := csv.reader(lines)):
            if len(row) != 3:
                raise LangJepaError(f"{path}, line {reader.line_num}: expected 3 columns, found {len(row)}.")
            pairs.first.append(row[0])
            pairs.second.append(row[1])
            pairs.scores.append(_number(row[2], path, reader.line_num))
    if not pairs.scores:
        raise LangJepaError(f"{path} is empty.")
    return pairs


def read_labelled(path: Path, split: Split) -> Labelled:
    """Read a tab-separated file with a header that names `label` and `sentence` (or `content`). No quoting.

    Raises:
        LangJepaError: the file is missing or empty, or has other columns, or a label is not an integer (with its line).
    """
    with _open(path) as lines:
        header = next(lines, "").rstrip("\n").split("\t")
        text = "sentence" if "sentence" in header else "content"
        if not {"label", text} <= set(header):
            raise LangJepaError(f"{path}: the header must name label and sentence (or content), got {header}.")
        label_column, text_column = header.index("label"), header.index(text)
        data = Labelled(split, [], [])
        for number, line in enumerate(lines, start=2):
            cells = line.rstrip("\n").split("\t")
            if len(cells) != len(header) or not cells[label_column].isdigit():
                raise LangJepaError(f"{path}, line {number}: expected {header}, found {cells}.")
            data.sentences.append(cells[text_column])
            data.labels.append(int(cells[label_column]))
    if not data.labels:
        raise LangJepaError(f"{path} has no rows.")
    return data


def _open(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error}") from error


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= 5.0:
        raise LangJepaError(f"{path}, line {line}: the score must be a number from 0 to 5, found '{text}'.")
    return value


def _from_folder(
    data_dir: Path, task: str, suffix: str, read: Callable[[Path, Split], StsPairs | Labelled]
) -> TaskData:
    """Read all splits of a task from a user's folder."""
    paths = {split: data_dir / task / f"{split}.{suffix}" for split in SPLITS}
    absent = [str(path) for path in paths.values() if not path.is_file()]
    if absent:
        raise LangJepaError(
            f"task data not found: {', '.join(absent)}. Give the folder that holds {task}/ as --data-dir, "
            "or leave --data-dir out to load it from the hub."
        )
    return TaskData({split: read(path, split) for split, path in paths.items()}, str(data_dir))


def _from_hub(name: str, failures: list[str]) -> dict[Split, Any] | None:
    """Load the splits of a hub dataset; None, with the reason added to `failures`, if the hub does not give it."""
    check_extra("hub", f"{name} is on the Hugging Face Hub, which")
    from datasets import load_dataset

    load: Callable[..., Any] = load_dataset
    try:
        found = load(name)
    except OSError as error:  # offline, unknown and gated datasets all raise some OSError
        failures.append(f"{name}: {error}")
        return None
    names: Sequence[tuple[Split, str]] = (("train", "train"), ("dev", "validation"), ("test", "test"))
    return {split: found[theirs] for split, theirs in names}


def _no_data(task: str, files: str, failures: list[str]) -> LangJepaError:
    reasons = "".join(f"\n  {failure}" for failure in failures)
    return LangJepaError(
        f"no data for {task}: no --data-dir was given and the hub did not give it.{reasons}\n"
        f"Put {files} into a folder and pass it as --data-dir, or go online."
    )
