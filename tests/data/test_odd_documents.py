"""HTML, Markdown, MDX and reStructuredText as people write them: what is read, and what is left out and counted."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from lang_jepa.data.documents_html import html_prose
from lang_jepa.data.documents_markdown import markdown_prose
from lang_jepa.data.documents_rst import rst_prose


@pytest.mark.parametrize(
    ("read", "text", "wanted", "left_out"),
    [
        (html_prose, "<p>One <b>bold<p>Two<ul><li>a<li>b <i>x</ul>after", "One bold|Two|a|b x|after", {}),
        (html_prose, "<p>It is<script>x</script> said<!-- c -->.</p>", "It is said.", {"scripts and styles": 1}),
        (html_prose, "<p>The area <math><mi>a</mi></math> is large.</p>", "The area is large.", {"formulas": 1}),
        (html_prose, "One line<br>goes on.<br/> <br>Another.", "One line goes on.|Another.", {}),
        (html_prose, "<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>です", "漢字です", {"readings": 1}),
        (html_prose, "<p style='display: none'>Never.</p><p>Shown.", "Shown.", {"hidden elements": 1}),
        (
            html_prose,
            '<?xml version="1.0"?><html><head><title/><script src="x"/></head><body><p>A<br/>b</p><div/>C',
            "A b|C",
            {"scripts and styles": 1},
        ),
        (html_prose, "<table><tr><td><h2>News</h2><p>It rained.</p></table>", "News|It rained.", {}),
        (html_prose, "", "", {}),
        (markdown_prose, "+++\ntitle = 'x'\n+++\nText.", "Text.", {"front matter": 1}),
        (markdown_prose, '{\r\n"title": "x"\r\n}\r\n\r\nText.', "Text.", {"front matter": 1}),
        (markdown_prose, "---\na: b\n---\n", "", {"front matter": 1}),
        (markdown_prose, "{one} and {two}.", "{one} and {two}.", {}),
        (markdown_prose, '!!! note "Mind"\n    A body.\n\n    More.\n\nAfter.', "Mind|A body.|More.|After.", {}),
        (markdown_prose, "!!! it is said\nwithout a body.", "!!! it is said without a body.", {}),
        (markdown_prose, ":::tip My tip\nContent.\n:::\n::: {.x}\nMore.\n:::", "My tip|Content.|More.", {}),
        (markdown_prose, "Term\n: What it means.", "Term|What it means.", {}),
        (markdown_prose, "# Head {#id .c}\n\nText.\n{: .note}\n\n[TOC]", "Head|Text.", {}),
        (markdown_prose, "See [[Page|the page]], [[Other]] ![[a.png]] `[[x]]`.", "See the page, Other  [[x]].", {"images": 1}),
        (markdown_prose, "As $a*b*c$ costs $5, and $6.\n\n$$\nx_1\n$$", "As $a*b*c$ costs $5, and $6.", {"formulas": 1}),
        (markdown_prose, "Title\n=====\n\nA [link][l], un*belie*vable  \nline.\n\n[l]: x", "Title|A link, unbelievable\nline.", {"link references": 1}),
        (
            partial(markdown_prose, mdx=True),
            "export const a = {\n  b: 1,\n\n  c: 2\n}\n\n<Tab>\nText.\n</Tab>\n\nimport x from (\n\nMore.",
            "Text.|More.",
            {"imports and exports": 2, "tags and expressions": 2},
        ),
        (rst_prose, "|tool| is |new|.\n\n.. |tool| replace:: The Tool\n.. |new| image:: x.png", "The Tool is .", {"directives": 1, "images": 1}),
        (rst_prose, ".. figure:: x.png\n   :alt: A\n\n   The caption.\n\nAfter.", "The caption.|After.", {"images": 1}),
        (rst_prose, "It is so [1]_.\n\n.. [1] A note\n   goes on.\n\n__ http://x", "It is so.|A note goes on.", {"comments and targets": 1}),
        (
            rst_prose,
            ".. py:function:: f(x)\n                 g(y)\n   :module: m\n\n   It does it.\n\n   .. note:: Mind.\n\n.. toctree::\n\n   a",
            "It does it.|Mind.",
            {"directives": 1},
        ),
        (rst_prose, ".. tab-set::\n\n   .. tab-item:: Linux\n\n      Use it.\n\n   .. tab-item:: BSD\n\n      ::\n\n         x", "Linux|Use it.", {"code blocks": 1}),
        (rst_prose, "-a, --all=X   Shows all.\n--file F      Reads\n              a file.", "Shows all.|Reads a file.", {}),
        (rst_prose, "+---+\n| a |\n+---+\n\nAfter.", "After.", {"tables": 1}),
    ],
)  # fmt: skip
def test_odd_documents(
    read: Callable[[str], tuple[str, Counter[str]]], text: str, wanted: str, left_out: dict[str, int]
) -> None:
    prose, counts = read(text)
    assert prose.split("\n\n") == wanted.split("|")
    assert +counts == left_out
