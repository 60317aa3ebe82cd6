"""Task files: parsing, and errors that name file and line."""

from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks.public_data import find_sst2, find_stsb, read_labelled, read_sts


def test_sts_rows_with_quotes_and_commas(tmp_path: Path) -> None:
    path = tmp_path / "dev.csv"
    path.write_text('"A man, a plan.",He said ""hi"",2.5\nx,y,0\n'.replace('He said ""hi""', '"He said ""hi"""'))
    pairs = read_sts(path, "dev")
    assert pairs.first == ["A man, a plan.", "x"]
    assert pairs.second == ['He said "hi"', "y"]
    assert pairs.scores == [2.5, 0.0]
    assert pairs.split == "dev"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,1\na,b\n", "line 2: expected 3 columns"),
        ("a,b,7\n", "0 to 5"),
        ("a,b,x\n", "line 1"),
        ("", "empty"),
    ],
)
def test_damaged_sts_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dev.csv").write_text(text)
    with pytest.raises(LangJepaError, match=message):
        read_sts(tmp_path / "dev.csv", "dev")


def test_labelled_takes_columns_by_name_and_does_not_quote(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text('sentence\tlabel\n"half a quote\t1\nplain\t0\n')
    data = read_labelled(path, "train")
    assert data.sentences == ['"half a quote', "plain"]
    assert data.labels == [1, 0]
    path.write_text("label\tcontent\n0\tother name\n")
    assert read_labelled(path, "train").sentences == ["other name"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\tb\n", "header"), ("label\tsentence\nx\ty\n", "line 2"), ("label\tsentence\n", "no rows")],
)
def test_damaged_labels_are_errors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dev.tsv").write_text(text)
    with pytest.raises(LangJepaError, match=message):
        read_labelled(tmp_path / "dev.tsv", "dev")


def test_an_absent_file_is_named_and_nothing_else_is_tried(tmp_path: Path) -> None:
    (tmp_path / "stsb").mkdir()
    (tmp_path / "stsb" / "dev.csv").write_text("a,b,1\n")
    with pytest.raises(LangJepaError, match=r"train\.csv.*test\.csv"):
        find_stsb(tmp_path)


def test_without_hub_and_folder_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LangJepaError, match=r"(?s)mteb/stsbenchmark-sts.*sentence-transformers/stsb.*--data-dir"):
        find_stsb(None)
    with pytest.raises(LangJepaError, match=r"(?s)stanfordnlp/sst2.*--data-dir"):
        find_sst2(None)


def test_real_files(shared_data: Path) -> None:
    sts, sst = find_stsb(shared_data), find_sst2(shared_data)
    assert {split: len(part.scores) for split, part in sts.splits.items()} == {
        "train": 5749,
        "dev": 1500,
        "test": 1379,
    }
    assert {split: len(part.labels) for split, part in sst.splits.items()} == {
        "train": 67349,
        "dev": 872,
        "test": 1821,
    }
    assert sts.source == str(shared_data)
