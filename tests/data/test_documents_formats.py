"""What becomes of files with markup, of patterns, of lengths and of what is lost on the way."""

import json
import subprocess
import sys
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from lang_jepa.data.corpus.statistics import Losses, why_nothing_held_out
from lang_jepa.data.sources.base import Document, Unreadable, length_of
from lang_jepa.data.sources.formats import read_document
from lang_jepa.data.sources.read_html import html_prose
from lang_jepa.data.sources.read_markdown import markdown_prose
from lang_jepa.data.sources.read_rst import rst_prose
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from office_files import write_office_files

MARKDOWN = """---
title: A page
---
# Getting started {#start}

[![Build](https://a.b/c.svg)](https://a.b) A *tool* for `code` and [links](https://a.b "t"). It
goes on here &amp; there.

{{< note >}}
Inside a note.
{{< /note >}}

{{< highlight go >}}
func main() {}
{{< /highlight >}}

| a | b |
|---|---|
| 1 | 2 |

```python
x = "never"
```

- [x] First item. It has two sentences.
- Second item

<details>
<summary>More</summary>

Hidden **prose**.

</details>
<script>never()</script>

{% if x %}Shown{% endif %} to all, see [the page][r] and[^1] this.

[r]: http://never "t"
[^1]: The note's text.
"""

MDX = """import Tabs from '@theme/Tabs';
import {
  never,
} from 'b';

export const x = () => {
  return 1;
};

# Title {/* never */}

<Tabs items={["a", "b>"]} fn={() => { return <b>never</b>; }}>

    Some prose with {never.value} and `{kept}` here.

</Tabs>

More text < 3 and { is open.

```jsx
import never from 'q';
```
"""

HTML = """<!doctype html><html><head><title>never</title><style>never{}</style></head><body>
<nav><a href=/>never</a></nav><main><h1>Hello <em>there</em><a class="headerlink">never</a></h1>
<p>One&nbsp;two<br>three &lt;x&gt;. <code>f()</code> is
<a href=x>linked</a>.</p><script>never()</script><ul><li>item one<li>item two</ul>
<table><tr><td>never</td></tr></table><pre>never</pre><p hidden>never</p>
<table><tr><td><h2>Layout</h2>inside</td></tr></table><!-- never --></main><footer>never</footer></body></html>"""

RST = """.. _never:

============
Introduction
============

:author: never

This is *the* ``first`` paragraph with `a link <http://never>`_ and
:class:`~foo.Bar` and more_, but snake_case_name and __init__. Example::

    never

.. note:: A note with
   two lines.

.. code-block:: python
   :linenos:

   never = 1

Section
-------

- item one goes
  on here [1]_
- item two

===== =====
never never
===== =====
1     2
===== =====

>>> never
1

.. [CIT] never

term
    The definition.
"""


def test_markdown_is_read_as_prose_with_headings() -> None:
    text, left_out = markdown_prose(MARKDOWN)
    assert text.split("\n\n") == [
        "Getting started",
        "A tool for code and links. It goes on here & there.",
        "Inside a note.",
        "First item. It has two sentences.",
        "Second item",
        "More",
        "Hidden prose.",
        "Shown to all, see the page and this.",
        "The note's text.",
    ]
    assert left_out == {
        "front matter": 1,
        "images": 1,
        "shortcodes": 5,
        "tables": 1,
        "code blocks": 1,
        "link references": 1,
        "scripts and styles": 1,
    }


def test_mdx_loses_imports_tags_and_expressions() -> None:
    text, left_out = markdown_prose(MDX, mdx=True)
    assert text.split("\n\n") == [
        "Title",
        "Some prose with  and `{kept}` here.".replace("`", ""),
        "More text < 3 and { is open.",
    ]
    assert left_out == {"imports and exports": 2, "tags and expressions": 3, "code blocks": 1}


def test_html_is_read_as_prose() -> None:
    text, left_out = html_prose(HTML)
    assert text.split("\n\n") == [
        "Hello there",
        "One\xa0two three <x>. f() is linked.",
        "item one",
        "item two",
        "Layout",
        "inside",
    ]
    expected = {"navigation": 2, "anchors": 1, "scripts and styles": 2, "tables": 1, "code blocks": 1}
    assert left_out == {**expected, "hidden elements": 1}


def test_rst_is_read_as_prose() -> None:
    text, left_out = rst_prose(RST)
    assert text.split("\n\n") == [
        "Introduction",
        "This is the first paragraph with a link and foo.Bar and more, but snake_case_name and __init__. Example:",
        "A note with two lines.",
        "Section",
        "item one goes on here",
        "item two",
        "term",
        "The definition.",
    ]
    assert left_out == {"comments and targets": 2, "fields": 1, "code blocks": 3, "tables": 1}


@pytest.mark.parametrize(
    "unit",
    [
        "[",
        "{{<",
        "{",
        "<a ",
        "{/*",
        "`",
        "- ",
        "> ",
        "import x\n",
        "<p>",
        "|",
        ".. ",
        "[[",
        "==a ",
        "!!! a\n",
        ":::",
        "$",
        "-a",
        "-a, ",
        "<br> ",
        "export {\n\n",
        "|a| ",
        "!!!    ",
    ],
)
def test_markup_of_nothing_but_openings_takes_linear_time(unit: str) -> None:
    """100,000 characters of what is never closed; what is quadratic in them does not end within the tests."""
    text = unit * (100_000 // len(unit))
    for read in (lambda text: markdown_prose(text, mdx=True), html_prose, rst_prose):
        with suppress(Unreadable):  # of elements inside each other, in which the parser's time is quadratic
            assert isinstance(read(text)[0], str)


def test_chinese_lines_are_joined_without_a_space() -> None:
    assert (
        markdown_prose("这是第一行，\n这是第二行。 A word\nand more.")[0] == "这是第一行，这是第二行。 A word and more."
    )


def test_pdf_and_word(tmp_path: Path) -> None:
    write_office_files(tmp_path)
    rows = list(_open(tmp_path).rows())
    assert rows == [
        Document("a.docx:0", "A heading\n\nA paragraph. It has two sentences."),
        Document("b.pdf:0", "A page with an example. It ends here."),
    ]
    assert isinstance(rows[0], Document)
    assert rows[0].left_out == (("tables", 1),)
    assert read_document(tmp_path / "b.pdf") == "A page with an example. It ends here."


def test_a_missing_extra_is_named_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A text.")
    (tmp_path / "b.pdf").write_bytes(b"%PDF")
    script = (
        "import sys; sys.modules['pypdf'] = None\n"
        "from lang_jepa.settings.encoder import DataSettings\n"
        "from lang_jepa.data.sources.source import open_source\n"
        f"open_source(DataSettings(train_file={str(tmp_path)!r}))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 'pip install "lang-jepa[documents]"' in result.stderr
    assert "data.exclude" in result.stderr


def _open(path: Path, **changes: object) -> object:
    values = {"train_file": str(path), "limit": None, "min_length": 1} | changes
    return open_source(DataSettings(**values))  # type: ignore[arg-type]


NAMES = ["a.md", "b.txt", "drafts/c.md", "guide/d.md", "guide/deep/e.md", "guide/f.log"]


@pytest.mark.parametrize(
    ("include", "exclude", "kept"),
    [
        (["*.md"], [], ["a.md"]),
        (["**/*.md"], [], ["a.md", "drafts/c.md", "guide/d.md", "guide/deep/e.md"]),
        (["guide"], ["guide/deep/"], ["guide/d.md"]),
        (["guide/**/?.md", "b.*"], [], ["b.txt", "guide/d.md", "guide/deep/e.md"]),
        ([], ["drafts", "**/[de].md"], ["a.md", "b.txt"]),
        (["[!b].*"], [], ["a.md"]),
    ],
)
def test_files_are_chosen_by_patterns(include: list[str], exclude: list[str], kept: list[str], tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("A text.")
    source = _open(tmp_path, include=include, exclude=exclude)
    assert [row.id for row in source.rows()] == [f"{name}:0" for name in kept]  # type: ignore[attr-defined]
    assert "left out by data.include" in source.description  # type: ignore[attr-defined]


def test_patterns_without_effect_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A text.")
    for changes, message in (
        ({"include": ["*.rst"]}, r"data\.include: '\*\.rst' matches no file below .*1 files: a\.md"),
        ({"exclude": ["drafts"]}, "data.exclude: 'drafts' matches no file"),
        ({"exclude": ["*.md"]}, "leaves no file"),
        ({"include": ["[z-a]"]}, "not a valid pattern"),
    ):
        with pytest.raises(LangJepaError, match=message):
            _open(tmp_path, **changes)
    with pytest.raises(LangJepaError, match="chooses files of a folder, but"):
        _open(tmp_path / "a.md", include=["a.md"])
    with pytest.raises(LangJepaError, match="chooses files of a folder"):
        open_source(DataSettings(train_file="stories", exclude=("a",)))


def test_another_column_is_another_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "One.", "body": "Two."}))
    first, second = (_open(tmp_path, text_column=name) for name in ("text", "body"))
    assert first.fingerprint() != second.fingerprint()  # type: ignore[attr-defined]


def test_lengths_are_fair_to_scripts_that_say_more_with_a_character(tmp_path: Path) -> None:
    assert length_of("  twelve chars \n") == 12
    assert length_of("é" * 12) == 12
    assert length_of("今天天气很好。") == 6 * 3 + 1
    assert length_of("きょうはいい") == length_of("오늘날씨좋다") == 18
    assert length_of("วันนี้") == length_of("ថ្ងៃនេ") == 12
    pages = [
        "我们昨天去了公园，孩子们在湖边喂鸭子，后来下起了雨，我们就回家了。",
        "太短了。",
        "Zu kurz ist auch das.",
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    rejected: Counter[str] = Counter()
    documents = list(_open(path, min_length=80).documents(rejected))  # type: ignore[attr-defined]
    assert [document.text for document in documents] == pages[:1]
    assert rejected == {"too short": 2}


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_memory_does_not_grow_with_the_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    text = "A sentence of a long file. " * 40
    rows = [json.dumps({"text": text})] * 12_000
    path.write_text(
        {"json": f"[{', '.join(rows)}]", "jsonl": "\n".join(rows), "csv": "text\n" + f'"{text}"\n' * 12_000}[kind]
    )
    source = _open(path)
    tracemalloc.start()
    count = sum(isinstance(row, Document) for row in source.rows())  # type: ignore[attr-defined]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 12_000
    assert peak < 5e6 < path.stat().st_size / 2


def test_losses_are_one_line_and_loud_above_a_tenth() -> None:
    few = Losses(
        100,
        {"too short": 3, "sentences without tokens": 900},
        {"near duplicate": 7},
        {"tables": 2, "messages without text": 1},
    )
    assert few.line() == (
        "of 100 documents: rejected 3 (3.0%): 3 too short; dropped 7 (7.0%) as near duplicates; left out 900 "
        "sentences without tokens; no prose, left out of the texts: 2 tables, 1 message without text"
    )
    assert not few.loud
    cut = Losses(10, {}, {}, {}, sentences=50, cut=6, max_length=64)
    assert cut.line() == "of 10 documents: cut 6 (12.0%) of 50 sentences at 64 tokens. Check model.max_length"
    assert cut.loud
    many = Losses(10, {"too short": 2}, {"exact duplicate": 2}, {}, sample=True)
    assert str(many.line()).startswith("of the first 10 documents: rejected 2 (20.0%)")
    assert "data.min_length" in str(many.line())
    assert "data.deduplicate" in str(many.line())
    assert Losses(10, {}, {}, {}).line() is None


def test_one_document_gets_advice_how_to_be_cut() -> None:
    assert "is one document" in why_nothing_held_out(0.03, 1, "file one.txt")
    assert why_nothing_held_out(0.03, 1, "folder of", read=13).startswith("only 1 of 13 documents of folder of is left")
    assert why_nothing_held_out(0.03, 0, "folder of", read=13).startswith(
        "none of 13 documents of folder of is left: they were rejected"
    )
    for documents, read in ((9, 9), (1, 1), (1, 13)):
        assert why_nothing_held_out(0.0, documents, "folder x", read=read).startswith("data.val_fraction is 0. Set")
    assert "held none out" in why_nothing_held_out(0.03, 9, "folder x")
