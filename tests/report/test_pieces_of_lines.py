"""What the tasks `turns` and `anomalies` read of a corpus of lines."""

from pathlib import Path

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.evaluation.tasks.anomalies import Copies
from lang_jepa.evaluation.tasks.request import Budget
from lang_jepa.report.run import PIECE, conversations
from tiny import tiny_settings


def test_files_of_lines_are_read_in_pieces_in_order(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for name, count in (("a", 400), ("b", 300)):
        (logs / f"{name}.log").write_text("\n".join(f"{name} line {n}" for n in range(count)))
    given = (f"data.train_file={logs}", "data.units=lines", "data.val_split=tail", "data.val_fraction=0.5")
    more = ("data.deduplicate=none", "data.limit=null", "data.min_length=1")
    corpus = prepare(tiny_settings(tmp_path / "run", *given, *more).data)
    found = conversations(corpus, None, Budget())
    assert found.files == [0] * 4 + [1] * 3
    assert found.speakers is None
    assert "pieces of files (held out)" in found.source
    assert [len(one) for one in found.documents] == [PIECE] * 3 + [200 - 3 * PIECE] + [PIECE] * 2 + [150 - 2 * PIECE]
    assert [text for one in found.documents[:4] for text in one] == [f"a line {n}" for n in range(200, 400)]
    some = conversations(corpus, None, Budget(conversations=4))
    assert (some.files, len(some.documents)) == ([0, 0, 1, 1], 4)
    made = Copies.of(found, 0)
    assert made.sources.tolist() == [0] * 4 + [-1] * 3  # three pieces are no source of their own
    assert made.choosing.tolist() == [True, True, False, False, *found.choosing[4:]]
    beside = conversations(corpus, corpus, Budget())
    assert beside.files is not None
    assert {*beside.files} == {0, 1, 2, 3}
    assert beside.choosing == [file < 2 for file in beside.files]
