"""Whatever the width of the terminal, a table loses no number and no word of its text."""

import io
from collections.abc import Iterable

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from lang_jepa.cli.console import LEAST_TEXT, info_tables, score_tables_of, text_tables

WIDTHS = (200, 80, 60, 40, 24, 16)
METRICS = ("exact match", "token F1", "ROUGE-L", "cosine of the retold concept", "BLEU", "event accuracy")
NAMES = ("model [centred]", "nearest training sentence", "last sentence, decoded")
SENTENCES = ("The [cat] sat.", "It slept all day, since nobody had told it what cats are for.", "x" * 90)


def drawn(parts: Iterable[RenderableType], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    for part in parts:
        console.print(part, highlight=False)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return lines


def letters(text: str) -> str:
    return "".join(one for one in text if one.isalnum() or one in "[].,")


@pytest.mark.parametrize("width", WIDTHS)
def test_scores_lose_no_number_and_no_name(width: int) -> None:
    metrics = [[f"{row}.{column}00 ±0.0{row}{column}" for column in range(1, 7)] for row in range(1, 4)]
    rows = [[Text(name), *map(Text, cells)] for name, cells in zip(NAMES, metrics, strict=True)]
    parts = list(score_tables_of(["", *METRICS], rows, width=width, strong=[0]))
    lines = drawn(parts, width)
    for cells in metrics:
        for cell in cells:
            value, interval = cell.split()
            assert any(value in line for line in lines)
            assert any(interval in line for line in lines)
    text = letters("".join(lines))
    for name in (*NAMES, *METRICS):
        for word in name.split():
            assert letters(word) in text
    assert len(parts) == 1 or width < 200


@pytest.mark.parametrize("width", WIDTHS)
def test_sentences_stay_visible_beside_or_below_their_metrics(width: int) -> None:
    heads = ("", "surprise", "out of place", "boundary", "sentence")
    rows = [[str(number), f"+1.{number}", f"-12.{number}", "", text] for number, text in enumerate(SENTENCES)]
    lines = drawn(text_tables(heads, rows, width=width, begins=[1]), width)
    for row in rows:
        assert all(any(cell in line for line in lines) for cell in row[:-1])
    if width >= 80:
        starts = [line.index("The [cat]") for line in lines if "The [cat]" in line]
        assert starts
        assert width - starts[0] >= LEAST_TEXT
    below = letters("".join(line for line in lines if "surprise" not in line and "place" not in line))
    for text in SENTENCES[:2]:
        assert all(letters(word) in below for word in text.split())
    assert below.count("x") == 90


@pytest.mark.parametrize("width", WIDTHS)
def test_info_loses_nothing(width: int) -> None:
    info = [("documents of the corpus", "20,000 of 20,001"), ("a [name]", "folder/" * 9)]
    lines = drawn(info_tables(info, width=width), width)
    text = letters("".join(lines))
    for word in ("documents", "20,000", "20,001", "[name]"):
        assert word in text
    assert text.count("folder") == 9 or width < 80
