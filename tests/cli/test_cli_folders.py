"""`topics`, `duplicates`, `document FOLDER`, and hits of a search as `path:line`."""

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lang_jepa.cli.folders import _show_study
from lang_jepa.inference.folders.study import FolderStudy, Passage, Summary
from lang_jepa.stories.generate import kind_of, story
from typed import Type, run_command

LOAF = (
    "A good loaf begins the evening before.",
    "Flour and water are stirred together and left to rest.",
    "A spoonful of ripe sourdough is folded in at the end.",
    "The dough rises slowly in a cool kitchen overnight.",
    "In the morning it is shaped and put into a basket.",
    "The oven has to be very hot when the bread goes in.",
    "A bowl of water makes the crust thin and crisp.",
    "After forty minutes the bread sounds hollow and is done.",
)
ODD = "The central bank raised its interest rate by a quarter of a point."


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    """Two texts on bread, of which one has a sentence on banks in line 5."""
    folder = tmp_path / "kitchen"
    folder.mkdir()
    (folder / "plain.txt").write_text("\n".join(LOAF))
    (folder / "odd.txt").write_text("\n".join([*LOAF[:4], ODD, *LOAF[4:]]))
    return folder


def test_the_odd_sentence_of_a_folder_is_named_with_its_line(kitchen: Path, minilm: Path, type_in: Type) -> None:
    output = kitchen.parent / "found.csv"
    ran = type_in("document", minilm, kitchen, "--top-k", "1", "--output", output)
    assert ran.status == 0, ran.err
    assert "High is surprising" in ran.out
    assert "below 0 it fits better" in ran.out
    documents, passages = ran.out.split("the most surprising sentences of all:")
    assert f"{kitchen}/odd.txt" in documents
    assert f"{kitchen}/plain.txt" not in documents
    assert "  and 1 more document: --top-k shows more" in documents
    number, place = re.findall(r"([+-][\d.]+)  (\S+)", passages)[0]
    assert (place, ODD in passages) == (f"{kitchen}/odd.txt:5", True)
    found = json.loads(type_in("document", minilm, kitchen, "--json").out)
    (odd,) = [one for one in found["passages"] if one["text"] == ODD]
    assert f"{odd['surprise']:+.1f}" == number
    assert odd["surprise"] == max(one["surprise"] for one in found["passages"] if one["surprise"] is not None)
    assert [one["units"] for one in found["documents"]] == [9, 8]
    rows = list(csv.DictReader(output.open()))
    assert [(row["place"], float(row["surprise"])) for row in rows if row["sentence"] == ODD] == [
        (f"{kitchen}/odd.txt:5", pytest.approx(odd["surprise"]))
    ]
    assert len(rows) == 17


@pytest.mark.parametrize(("least", "said"), [(-1.4, " (even these fit better than a shuffled turn):"), (0.2, ":")])
def test_a_negative_surprise_is_explained_and_documents_are_bounded(
    least: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    passages = [Passage(f"{n}.txt:2", f"{n}.txt", 1, least - n, None, "Yes.", "", False, None) for n in range(3)]
    summaries = [Summary(one.document, 2, 1, 0, one.surprise, one) for one in reversed(passages)]
    found = FolderStudy("three texts", "copying", "training", summaries, passages, [])
    _show_study(found, "about", "turn", 2, None)
    documents, shown = capsys.readouterr().out.split(f"the most surprising turns of all{said}\n")
    assert re.findall(r"\d\.txt", documents) == ["0.txt", "1.txt"]
    assert "and 1 more document: --top-k shows more" in documents
    assert re.findall(r"\d\.txt:2", shown) == ["0.txt:2", "1.txt:2"]


def test_topics_are_the_plots_of_stories(tmp_path: Path, minilm: Path, type_in: Type) -> None:
    folder = tmp_path / "stories"
    folder.mkdir()
    kinds: dict[str, str] = {}
    for number in range(200):
        kind = kind_of(number, 0, "heldout")
        if kind in ("cook", "fish", "exam") and Counter(kinds.values())[kind] < 8:
            path = folder / f"{number}.txt"
            path.write_text("\n".join(one.text for one in story(number, 0, "heldout").sentences))
            kinds[str(path)] = kind
    ran = type_in("topics", minilm, folder, "--topics", "3", "--json", "--output", tmp_path / "t.html")
    assert ran.status == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    assert found["of"] == "documents"
    topics = {one["place"]: one["topic"] for one in found["units"]}
    assert topics.keys() == kinds.keys()
    purity = sum(max(Counter(kinds[p] for p in topics if topics[p] == n).values()) for n in (1, 2, 3)) / len(topics)
    assert purity > 0.85
    for one in found["topics"]:
        assert one["share"] == pytest.approx(one["units"] / 24)
        assert len(one["typical"]) == 3
        for near in one["typical"]:
            path, line = near["place"].rsplit(":", 1)
            assert Path(path).read_text().splitlines()[int(line) - 1] == near["text"]
            assert topics[path] == one["number"]
    shown = type_in("topics", minilm, folder, "--topics", "3").out
    for one in found["topics"]:
        assert f"{one['number']}. {', '.join(one['words'])}\n   {one['share']:.1%}, {one['units']} documents" in shown
    assert "Topics of" in (tmp_path / "t.html").read_text()
    again = json.loads(type_in("topics", minilm, folder, "--of", "sentences", "--topics", "4", "--json").out)
    assert sum(one["units"] for one in again["topics"]) == len(again["units"]) > 200
    assert "method hdbscan" in type_in("topics", minilm, folder, "--topics", "3", "--method", "hdbscan").err


def test_duplicates_need_no_model(kitchen: Path, type_in: Type) -> None:
    shutil.copy(kitchen / "odd.txt", kitchen / "twin.txt")
    found = json.loads(type_in("duplicates", kitchen, "--json").out)
    kinds = {Path(one["document"]).name: (one["kind"], Path(one["original"]).name) for one in found["duplicates"]}
    assert kinds == {"plain.txt": ("near duplicate", "odd.txt"), "twin.txt": ("exact duplicate", "odd.txt")}
    shown = type_in("duplicates", kitchen, "--top-k", "1").out
    assert "3 documents: 1 exact copy, 1 near copy, 1 different" in shown
    assert "and 1 more copy: --top-k shows more" in shown
    code = (
        "import sys; from lang_jepa.cli.app import app;"
        f"sys.argv = ['', 'duplicates', {str(kitchen)!r}]; app(standalone_mode=False); print('torch' in sys.modules)"
    )
    assert run_command("python", "-c", code).out.endswith("\nFalse\n")
    assert "the suffix says" in type_in("duplicates", kitchen, "--output", "x.txt").err


def test_hits_stand_in_their_files(kitchen: Path, minilm: Path, type_in: Type) -> None:
    index = kitchen.parent / "index"
    assert type_in("index", minilm, kitchen, "--output", index).status == 0
    ran = type_in("search", index, "interest rates of banks", "--top-k", "1", "--paragraph")
    assert f"{ODD}  [{kitchen}/odd.txt:5]" in ran.out
    assert " ".join([*LOAF[:4], ODD, *LOAF[4:]]) in ran.out
    asked = type_in("search", index, "interest rates of banks", "--top-k", "2", "--json")
    first, second = json.loads(asked.out)["queries"][0]["hits"]
    assert (first["path"], first["line"], first["document"]) == (f"{kitchen}/odd.txt", 5, "odd.txt:0")
    assert f"{first['score']:7.4f}" in ran.out
    assert first["score"] >= second["score"]
    read = json.loads(
        type_in("infer", minilm, "--text", "The bank raised its rate.", "--corpus", index, "--top-k", "1", "--json").out
    )
    assert len(read["texts"][0]["concept"]) == 384
    assert read["texts"][0]["neighbours"][0]["line"] == 5
    # Written anew, the file no longer says where the sentence stands: no line is shown that is not true.
    (kitchen / "odd.txt").write_text("Something else.")
    shown = type_in("search", index, "interest rates of banks", "--top-k", "1").out
    assert f"{ODD}  [odd.txt:0\u00a0#4]" in shown


def test_conversations_taken_for_texts_are_named(type_in: Type, tmp_path: Path) -> None:
    row = '{"messages": [{"role": "user", "content": "Good morning."}]}\n'
    (tmp_path / "chats.jsonl").write_text(2 * row)
    ran = type_in("duplicates", tmp_path / "chats.jsonl")
    assert ran.status == 2
    assert "--units turns" in ran.err
