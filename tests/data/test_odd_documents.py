"""HTML, Markdown, MDX and reStructuredText as people write them: what is read, and what is left out and counted."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from lang_jepa.data.sources.read_html import html_prose
from lang_jepa.data.sources.read_markdown import markdown_prose
from lang_jepa.data.sources.read_rst import rst_prose


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
        (html_prose, "<html style='display:none'><body hidden><p>All prose.</p></body></html>", "All prose.", {}),
        (html_prose, "<body style='visibility:hidden'><p>All.</p>", "All.", {}),
        (html_prose, "<body style='opacity:0; display:none' aria-hidden=true><p>All.</p>", "All.", {}),
        (html_prose, "<div style='display:none'><h1>All</h1><p>of it.</div><p style='display:none'>No.", "All|of it.", {"hidden elements": 1}),
        (html_prose, "<p style='display:none;display:block'>A<p style='--display:none'>B<p style='font:display:none'>C", "A|B|C", {}),
        (html_prose, """<p style="background:url('display:none')">A<p style="background:url(;display:none)">B""", "A|B", {}),
        (html_prose, "<p>A<p>B<p style='DISPLAY : None !important; display:block'>C", "A|B", {"hidden elements": 1}),
        (html_prose, "<p hidden='until-found'>Shown.<p hidden>Never.", "Shown.", {"hidden elements": 1}),
        (html_prose, "<form><h1>All</h1><p>prose.</form><form><input><p>Mail?</form>", "All|prose.", {"forms": 1}),
        (html_prose, "<table><tr><td>menu<td><p>All<p>prose.</table><table><tr><td>1</table>", "menu|All|prose.", {"tables": 1}),
        (html_prose, "<h1>A</h1><table><tr><td><p>1<td><p>2<tr><td><p>3<td><p>4</table>", "A", {"tables": 1}),
        (html_prose, "<table><tr><td><p>One.<tr><td><p>Two.</table>", "One.|Two.", {}),
        (html_prose, "<body><h1>A</h1><p>B<p>C<form><p>Mail?</form>", "A|B|C", {"forms": 1}),
        (html_prose, "<p>It is <nobr>one sentence</nobr> still.", "It is one sentence still.", {}),
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
            "export const a = {\n  b: 1,\n\n  c: 2\n}\n\n<Tab>\nText.\n</Tab>\n\nimport {x\n\nMore.",
            "Text.|More.",
            {"imports and exports": 2, "tags and expressions": 2},
        ),
        (
            markdown_prose,
            "Intro.\n\n$$: two dollar signs mean moderate.\n\nMiddle.\n\nMore is marked $$\n\nEnd.",
            "Intro.|$$: two dollar signs mean moderate.|Middle.|More is marked $$|End.",
            {},
        ),
        (markdown_prose, "$$\nx\n\ny\n$$\n\n$$x\ny$$\n\nEnd.", "End.", {"formulas": 2}),
        (markdown_prose, "!!! Wow that is great\n\n    code here\n\nAfter.", "!!! Wow that is great|After.", {"code blocks": 1}),
        (markdown_prose, "??? Why does it fail\n    Because.", "??? Why does it fail Because.", {}),
        (markdown_prose, "=== Results of it\n    are below", "=== Results of it are below", {}),
        (markdown_prose, "::: This whole line is prose", "This whole line is prose", {}),
        (markdown_prose, ":::{note}\nA.\n:::\n::: {.x a=b}\nB.\n:::\n::: warning Mind it {#x}\nC.\n:::", "A.|B.|Mind it|C.", {}),
        (markdown_prose, "    !!! note\n        in code", "", {"code blocks": 1}),
        (markdown_prose, "1. One\n\n    !!! note inline end\n        A body.\n\n        More.", "One|A body.|More.", {}),
        (markdown_prose, '=== "Tab one"\n\n    ??? own-type "Title"\n\n        A body.', "Tab one|Title|A body.", {}),
        (markdown_prose, "{: This is a line that somebody wrote }", "{: This is a line that somebody wrote }", {}),
        (markdown_prose, "This is about {#tags and more}", "This is about {#tags and more}", {}),
        (markdown_prose, "It prints {:.2f}\n{: .a #b key=\"v w\" }\n\n# Head {: .c}", "It prints {:.2f}|Head", {}),
        (markdown_prose, "+++\n\nText between pluses.\n\n+++\n\nAfter.", "+++|Text between pluses.|+++|After.", {}),
        (markdown_prose, "+++\n# Text\n+++\n\nAfter.", "+++|Text|+++|After.", {}),
        (markdown_prose, "As a[[0]] and x[[1,2]], or [[1, 2]].", "As a[[0]] and x[[1,2]], or [[1, 2]].", {}),
        (
            partial(markdown_prose, mdx=True),
            "import this is a sentence.\n\nexport goods are too.\n\nimport A, {B} from 'c'\nimport 'd.css';\n\nText.",
            "import this is a sentence.|export goods are too.|Text.",
            {"imports and exports": 1},
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
        (rst_prose, "-5  degrees is cold.\n-6  is colder.", "-5  degrees is cold. -6  is colder.", {}),
        (rst_prose, "-x  is what he said.\n\n-v, -w  and so on", "-x  is what he said.|-v, -w  and so on", {}),
        (rst_prose, "-x  is what he said\nand not what I said.", "-x  is what he said and not what I said.", {}),
        (rst_prose, "-a  One\n    - an item\n-b  Two", "One|an item|Two", {}),
        (rst_prose, "+---+\n| a |\n+---+\n\nAfter.", "After.", {"tables": 1}),
    ],
)  # fmt: skip
def test_odd_documents(
    read: Callable[[str], tuple[str, Counter[str]]], text: str, wanted: str, left_out: dict[str, int]
) -> None:
    prose, counts = read(text)
    assert prose.split("\n\n") == wanted.split("|")
    assert dict(counts) == left_out
