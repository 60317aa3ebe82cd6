"""What is masked in lines, what is not, the tail that is held out, and the same wherever text is read."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lang_jepa.data.corpus.blocks import first_held_out
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.text.masks import mask
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.load import load_settings
from lang_jepa.training.train import train
from tiny import tiny_settings


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("2015-10-18 18:01:47,978 INFO [main] done", "<time> INFO [main] done"),
        ("2024-02-29T23:59:59Z up", "<time> up"),
        ("Jun  9 06:06:20 combo sshd[123]: bye", "<time> combo sshd[<number>]: bye"),
        ("[10.30 16:49:06] chrome.exe", "[<number> <time>] chrome.exe"),
        ("from 10.251.31.5:50010 to 10.0.0.1", "from <ip> to <ip>"),
        ("version 1.2.3 of 4,096 bytes", "version <number> of <number> bytes"),
        ("blk_-1608999687919862906 size 67108864", "blk_<number> size <number>"),
        ("at 0x7fff5fbff8c8 and deadbeef01", "at <hex> and <hex>"),
        ("id 6bb5a1f3-9a1c-4b0e-8d3d-0123456789ab", "id <uuid>"),
        ("read /var/log/app.log twice", "read <path> twice"),
        (r"open C:\Windows\system32\x.dll now", "open <path> now"),
        ("mac 00:1b:63:84:45:e6 seen", "mac <mac> seen"),
        ("facade decade and/or cafe", "facade decade and/or cafe"),
        ("took -3.5 s, +1 retry", "took <number> s, <number> retry"),
        ("[Sun Dec 04 04:47:44 2005] [notice] up", "[<time>] [notice] up"),
        ("081109 203615 148 INFO dfs", "<time> <number> INFO dfs"),
        ("port 993456 654321", "port <number> <number>"),
        ("2024-01-02T03:04:05.678901+01:00 WARN up", "<time> WARN up"),
        ("Sun, 06 Nov 1994 08:49:37 GMT", "<time>"),
        ("02-Jan-2024 03:04:05.123 INFO", "<time> INFO"),
        ("10/Oct/2000:13:55:36 -0700", "<time>"),
        ("1/2/2024 3:04:05 PM on", "<time> on"),
        ("240102  3:04:05 [Note] ready", "<time> [Note] ready"),
        ("03-17 16:13:38.811 E Zygote", "<time> E Zygote"),
        ("20171223-22:15:29:606|Step", "<time>|Step"),
        ("1117838570 2005.06.03 R02", "<number> <time> R<number>"),
        ("2005-06-03-16.56.14.254137 R24", "<time> R<number>"),
        ("nova.log.2017-05-16_13:53:08", "nova.log.<time>"),
        ("10:20:30:40:50:60 seen", "<mac> seen"),
        ("12ms of 00:01:02", "<number>ms of <time>"),
        ("FATAL ERROR WARN INFO DEBUG TRACE E W", "FATAL ERROR WARN INFO DEBUG TRACE E W"),
    ],
)
def test_known_lines(line: str, masked: str) -> None:
    assert mask(line) == masked
    assert mask(masked) == masked


def test_own_patterns_come_first() -> None:
    assert mask("user anna42 logged in 3 times", [r"user \w+"]) == "<own> logged in <number> times"
    with pytest.raises(ValidationError, match="is not a regular expression"):
        DataSettings(units="lines", mask=True, mask_patterns=("(",))


@pytest.mark.parametrize("pattern", ["", ".*", "a?", "x|", r"\b", "(?=a)"])
def test_own_patterns_must_match_something(pattern: str) -> None:
    with pytest.raises(ValidationError, match="matches the empty string"):
        DataSettings(units="lines", mask=True, mask_patterns=(pattern,))


def test_an_own_pattern_without_end_is_an_error_after_a_second() -> None:
    with pytest.raises(LangJepaError, match=r"data\.mask_patterns: .*takes more than 1 s on one text"):
        mask("a" * 60 + "!", [r"(a|aa)+$"])


def test_no_two_templates_of_twelve_systems_become_one(shared_data: Path) -> None:
    import pyarrow.parquet as pq

    events, lines = defaultdict(set), defaultdict(set)
    for row in pq.read_table(shared_data / "logs.parquet").to_pylist():
        events[row["system"], mask(row["content"])].add(row["event"])
        lines[row["system"]].add(mask(row["content"]))
    assert [found for found in events.items() if len(found[1]) > 1] == []
    assert sum(map(len, lines.values())) < 1700  # of 24,000 lines with 870 templates


def _log(folder: Path) -> Path:
    folder.mkdir()
    for name in ("a", "b"):
        lines = [f"2024-01-{1 + n // 10:02} 10:00:0{n % 10} {name} step {n} of job {n * 7}" for n in range(40)]
        (folder / f"{name}.log").write_text("\n".join(lines))
    return folder


LINES = ("data.units=lines", "data.mask=true", "data.val_split=tail", "data.val_fraction=0.25", "data.min_length=1",
         "data.deduplicate=none", "data.limit=null")  # fmt: skip


def test_the_tail_of_each_file_is_held_out(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", f"data.train_file={_log(tmp_path / 'logs')}", *LINES)
    messages: list[str] = []
    corpus = prepare(settings.data, progress=lambda event: messages.append(event.message))
    train_side, held = corpus.train, corpus.validation
    assert np.diff(train_side.document_starts).tolist() == [30, 30]
    assert np.diff(held.document_starts).tolist() == [10, 10]
    assert [held.document_id(row) for row in (0, 1)] == ["a.log:0~30", "b.log:0~30"]
    assert train_side.texts([0, 30])[0] == "<time> a step <number> of job <number>"
    assert not any("held-out scores will look too good" in text for text in messages)
    plain = tiny_settings(tmp_path / "run", f"data.train_file={tmp_path / 'logs'}", *LINES, "data.mask=false")
    assert prepare(plain.data).path != corpus.path
    assert corpus.manifest["statistics"]["overlap"]["all_sentences"] == 1.0
    assert prepare(plain.data).manifest["statistics"]["overlap"]["all_sentences"] == 0.0
    assert "step 0 of job 0" in prepare(plain.data).train.texts([0])[0]


@pytest.mark.parametrize(("count", "fraction", "first"), [(40, 0.25, 30), (3, 0.1, 2), (1, 0.5, 0), (7, 0.0, 7)])
def test_how_much_is_the_tail(count: int, fraction: float, first: int) -> None:
    assert first_held_out(count, fraction) == first


def test_a_model_reads_new_lines_masked(tmp_path: Path) -> None:
    train(tiny_settings(tmp_path / "run", f"data.train_file={_log(tmp_path / 'logs')}", *LINES))
    model = ConceptModel.load(tmp_path / "run")
    one, same, other = model.encode(
        ["2024-01-01 10:00:00 a step 1 of job 2", "1999-12-31 23:59:59 a step 77 of job 8", "b stopped"]
    )
    np.testing.assert_allclose(one, same, atol=1e-6)
    assert not np.allclose(one, other, atol=1e-3)
    now = model.predict_next(["2024-01-01 10:00:00 a step 1 of job 2"])
    np.testing.assert_allclose(now, model.predict_next(["1999-12-31 23:59:59 a step 5 of job 6"]), atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("data.mask=true",), r"data\.mask has no effect beside data\.units=sentences"),
        (("data.val_split=tail",), r"data\.val_split has no effect beside data\.units=sentences"),
        (("data.units=lines", "data.mask_patterns=[x]"), r"data\.mask_patterns has no effect beside data\.mask=false"),
    ],
)
def test_what_belongs_to_lines_alone_is_refused(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(LangJepaError, match=said):
        load_settings("concepts", overrides)
