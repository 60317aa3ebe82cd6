"""Convert Markdown and MDX to prose with headings: what a person would read aloud.

Paragraphs are separated by blank lines. Inline code, link texts and footnotes are kept as text. Front matter, code
blocks, tables, images, link references, shortcodes, and MDX imports, tags and expressions are left out and counted.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.dollarmath.index import math_block_dollar
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from lang_jepa.data.sources.read_html import html_prose

FORMAT = 3

_TAG = re.compile(r"\{\{(?:<[^{}]{0,2000}?>|%[^{}]{0,2000}?%)\}\}|\{%[^{}]{0,2000}?%\}|\{\{[^{}]{0,2000}?\}\}")
"""Hugo shortcodes, Liquid and Jinja tags and variables."""
_NAME = re.compile(r"[{<%\s/-]*(\w+)")
_CODE_TAGS = {"highlight", "mermaid", "raw", "code", "codeblock", "comment", "math", "katex"}
"""Tags whose content is not prose."""
_COMMENT = re.compile(r"\{/\*.{0,1000}?\*/\}", re.DOTALL)
_ATTRIBUTE = r"""(?:\.[A-Za-z_-][\w:.-]*|#[\w:.-]+|[\w:.-]+=(?:"[^"\n]*"|'[^'\n]*'|[^\s"'{}]+))"""
_ATTRIBUTES = rf"\{{(?::[ \t]*|[ \t]*(?=[.#])){_ATTRIBUTE}(?:[ \t]+{_ATTRIBUTE})*[ \t]*\}}"
"""`{: .class #id key="v" }` or `{#id}`."""
_ANCHOR = re.compile(rf"\s*{_ATTRIBUTES}\s*$")
_LINES = re.compile(rf"^[ \t]*(?:{_ATTRIBUTES}|\{{:[ \t]?(?:no_)?toc\}}|\[\[?_?TOC_?\]?\])[ \t]*$", re.MULTILINE)
"""Attribute lines and table-of-contents placeholders."""
_TYPE = (
    "(?:note|abstract|summary|tldr|info|todo|tip|hint|important|success|check|done|question|help|faq|warning|caution|"
    "attention|failure|fail|missing|danger|error|bug|example|quote|cite|seealso|details|admonition|secondary)"
)
_DIRECTIVE = re.compile(r"^([ \t]{0,40}):{3,}([^:\n].*)?$", re.MULTILINE)
"""A Docusaurus or Pandoc fence around a note, with its title."""
_FENCE_MARK = re.compile(rf"\{{[^{{}}\s]*\}}|\{{[^{{}}]*\}}$|{_TYPE}(?![\w-])|[a-z][\w.-]*$")
"""What a fence of colons says about its content: an argument in braces, a note type, or a single word."""
_NOTE = re.compile(
    rf"([ \t]{{0,40}})(?:(?:!!!|\?\?\?\+?)[ \t]{{1,4}}{_TYPE}(?: inline(?: end)?)?|"
    r'(?:!!!|\?\?\?\+?|===\+?)[ \t]{1,4}(?:[a-z][\w-]*(?: [a-z][\w-]*){0,4}[ \t]{1,4})?"([^"]*)")[ \t]{0,4}'
)
"""The first line of an MkDocs note or tab: a usual type, or a title in quotes; the body is indented by four."""
_LISTED = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_DEEPEST = 8
"""Notes nested more deeply than this are not unwrapped."""
_FRONT = re.compile(r"\+\+\+[ \t]*\r?\n(.*?)^\+\+\+[ \t]*\r?$", re.MULTILINE | re.DOTALL)
_IN_TEXT = (
    (re.compile(r"!\[\[[^\[\]\n]+\]\]"), ""),
    (re.compile(r"(?<![A-Za-z0-9_\])])\[\[(?![\d,. ]+\]\])(?:[^\[\]|\n]+\|)?([^\[\]|\n]+)\]\]"), r"\1"),
    (re.compile(rf"\[([^\[\]\n]+)\]{_ATTRIBUTES}"), r"\1"),
    (re.compile(r"(?<![=\w])==(?=\S)([^=\n]+)(?<=\S)==(?![=\w])"), r"\1"),
)
"""Embedded files, links between notes, spans with attributes, and highlights, each with what remains of it."""
_MARKER = re.compile(r"^\s*(?:\[[ xX]\]\s+|\[!\w+\][ \t]*)")
_FENCE = re.compile(r"[ \t]*(?:>[ \t]*)*(`{3,}|~{3,})")
_CJK = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")


def markdown_prose(text: str, *, mdx: bool = False) -> tuple[str, Counter[str]]:
    """Return the prose of a Markdown document, and counts of what was left out by kind.

    Args:
        text: of the file.
        mdx: also leave out MDX imports, exports, tags and expressions.
    """
    left_out: Counter[str] = Counter()
    text = _without_shortcodes(_without_front(text, left_out), left_out)
    text = _LINES.sub("", _DIRECTIVE.sub(_title, _COMMENT.sub("", text)))
    text = "\n".join(_unindented(re.split(r"\r?\n", text)))
    if mdx:
        text = "".join(_without_jsx(text, left_out))
    environment: dict[str, object] = {}
    tokens = _parser(mdx=mdx).parse(text, environment)
    references = environment.get("references")
    left_out["link references"] += len(references) if isinstance(references, dict) else 0
    blocks = (block.strip() for block in _blocks(tokens, left_out))
    return "\n\n".join(block for block in blocks if block), +left_out


def _parser(*, mdx: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    if mdx:
        parser.disable("code")  # in MDX, indented text is the content of a tag
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False)
    parser.block.ruler.at("math_block", _math_block)
    return parser.use(front_matter_plugin).use(footnote_plugin).use(deflist_plugin)


_MATH = {alone: math_block_dollar(allow_blank_lines=alone) for alone in (True, False)}


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A formula between $$, which may contain blank lines only if the opening $$ is alone on its line."""
    alone = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]].strip() == "$$"
    return _MATH[alone](state, start, end, silent)


def _without_front(text: str, left_out: Counter[str]) -> str:
    """The text without TOML or JSON front matter; YAML front matter is handled by the parser."""
    value, end = None, 0
    try:
        if match := _FRONT.match(text):
            value, end = tomllib.loads(match[1]), match.end()
        elif text.startswith("{"):
            value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text  # not front matter
    end = end if isinstance(value, dict) and value and text[end : end + 1] in ("", "\r", "\n") else 0
    left_out["front matter"] += end > 0
    return text[end:]


def _title(fence: re.Match[str]) -> str:
    """The title next to a fence of colons, as a paragraph."""
    rest = _ANCHOR.sub("", (fence[2] or "").strip())
    marked = _FENCE_MARK.match(rest)
    title = rest[marked.end() :].strip(" []") if marked else rest
    return f"\n{fence[1]}{title}\n"


def _unindented(lines: Sequence[str], depth: int = 0) -> Iterator[str]:
    """Yield lines with MkDocs notes and tabs turned into paragraphs: their titles and their unindented bodies."""
    at, listed = 0, False
    while at < len(lines):
        code = not listed and lines[at].expandtabs(4).startswith("    ")
        if lines[at].strip() and not code:
            listed = bool(_LISTED.match(lines[at])) or (listed and lines[at][0] in " \t")
        match = None if code else _NOTE.fullmatch(lines[at])
        margin = match[1].expandtabs(4) + "    " if match else ""
        at += 1
        following = next((line for line in lines[at : at + 2] if line.strip()), "")
        if match is None or depth > _DEEPEST or not following.expandtabs(4).startswith(margin):
            yield lines[at - 1]
            continue
        body = []
        while at < len(lines) and (not lines[at].strip() or lines[at].expandtabs(4).startswith(margin)):
            body.append(lines[at].expandtabs(4)[len(margin) :])
            at += 1
        yield from ("", match[2] or "", "", *_unindented(body, depth + 1), "")


def _blocks(tokens: Sequence[Token], left_out: Counter[str]) -> Iterator[str]:
    """Yield the text of every prose block."""
    table = 0
    for token in tokens:
        if kind := _COUNTED_AS.get(token.type):
            left_out[kind] += 1
        table += {"table_open": 1, "table_close": -1}.get(token.type, 0)
        if token.type == "html_block":
            prose, more = html_prose(token.content)
            left_out.update(more)
            yield prose
        elif token.type == "inline" and not table:
            yield _MARKER.sub("", _ANCHOR.sub("", _inline(token.children or [], left_out)))


_COUNTED_AS = {
    "table_open": "tables", "math_block": "formulas", "math_block_label": "formulas", "fence": "code blocks",
    "code_block": "code blocks", "front_matter": "front matter",
}  # fmt: skip
"""Tokens of what is left out, by the name under which it is counted."""


def _inline(tokens: Sequence[Token], left_out: Counter[str]) -> str:
    """The text of a paragraph; a line break becomes a space, except between Chinese or Japanese characters."""
    parts: list[str] = []
    broken = False
    for token in tokens:
        match token.type:
            case "text" | "code_inline" | "math_inline" | "math_inline_double":
                text = token.content if token.type == "code_inline" else _shown(token, left_out)
                if broken and parts and text and not (_CJK.match(parts[-1][-1:]) and _CJK.match(text)):
                    parts.append(" ")
                broken = broken and not text
                parts.append(text)
            case "softbreak":
                broken = True
            case "hardbreak":
                parts.append("\n")
            case "html_inline" if token.content.lower().startswith("<br"):
                parts.append("\n")
            case "image":
                left_out["images"] += 1
    return "".join(parts)


def _shown(token: Token, left_out: Counter[str]) -> str:
    """The text shown for a text token or a formula."""
    if token.type != "text":
        return f"{token.markup}{token.content}{token.markup}"
    text = token.content
    left_out["images"] += text.count("![[")
    for pattern, kept in _IN_TEXT:
        text = pattern.sub(kept, text)
    return text


def _without_shortcodes(text: str, left_out: Counter[str]) -> str:
    """The text without template tags and without the content of code tags."""
    parts: list[str] = []
    at, inside = 0, ""
    for match in _TAG.finditer(text):
        found = _NAME.match(match[0])
        name = found[1] if found else ""
        closes = name == f"end{inside}" or (name == inside and "/" in match[0])
        if not inside:
            parts.append(text[at : match.start()])
            left_out["shortcodes"] += 1
            opens = name in _CODE_TAGS and not re.match(r"[{<%\s-]*/", match[0])
            inside = name if opens and _closed(text, name, match.end()) else ""
            at = match.end()
        elif closes:
            inside, at = "", match.end()
    parts.append(text[at:])
    return "".join(parts)


def _closed(text: str, name: str, start: int) -> bool:
    """Whether a code tag has a closing tag."""
    return any(text.find(f"{sign}{name}", start) >= 0 for sign in ("/", "/ ", "end"))


# MDX


def _without_jsx(text: str, left_out: Counter[str]) -> Iterator[str]:
    """The text of an MDX file without imports, exports, tags and expressions; code stays unchanged."""
    fence, end = "", 0
    pending: list[str] = []
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        opened = _FENCE.match(line)
        if fence or opened:
            yield from _without_tags("".join(pending), left_out)
            pending = []
            yield line
            if fence and opened and opened[1].startswith(fence) and not line[opened.end() :].strip():
                fence = ""
            elif not fence and opened:
                fence = opened[1]
            continue
        if number >= end and _MODULE.match(line):
            left_out["imports and exports"] += 1
            end = _end_of_module(lines, number)
        if number >= end:
            pending.append(line)
    yield from _without_tags("".join(pending), left_out)


_MODULE = re.compile(
    r"""import\s*(?:\{|\*\s*as\b|(?:"[^"\n]*"|'[^'\n]*')\s*;?\s*$)|"""
    r"""import\s+(?:type\s*\{|(?:type\s+)?[\w$]+\s*(?:,\s*[{*]|from\s*["']))|"""
    r"export\s*(?:\{|\*\s*(?:as|from)\b)|export\s+(?:default\b|(?:const|let|var|type)\s+(?:[\w$]+\s*[:=<]|[{\[])|"
    r"(?:async\s+)?(?:function|class|interface|enum)\b[^\n]*[({])"
)
"""The beginning of an import or export."""
_MODULE_LINES = 200
"""Maximum number of lines in one import or export."""


def _end_of_module(lines: Sequence[str], at: int) -> int:
    """The blank line that ends an import or export: the first with all brackets closed, or the first if none is."""
    depth, first = 0, 0
    last = min(len(lines), at + _MODULE_LINES)
    for number in range(at, last):
        line = lines[number]
        if not line.strip():
            if depth <= 0:
                return number
            first = first or number
        elif _FENCE.match(line):
            return first or number
        depth += sum(map(line.count, "{([")) - sum(map(line.count, "})]"))
    return first if depth > 0 and first else last


_OPENING = re.compile(r"(`+)|<(?=[A-Za-z/>])|\{")
_IN_TAG = re.compile(r"""[{<>]|"[^"\n]{0,500}"|'[^'\n]{0,500}'""")
_OUTSIDE = re.compile(r"`+|\{")
_IN_BRACES = re.compile(r"""[{}]|"[^"\n]{0,500}"|'[^'\n]{0,500}'|`[^`]{0,500}`""")


def _without_tags(text: str, left_out: Counter[str]) -> Iterator[str]:
    """Yield text without tags and expressions; text between two tags is kept, and so is inline code."""
    at, ends = 0, _ends_of_braces(text)
    while match := _OPENING.search(text, at):
        yield text[at : match.start()]
        if match[1]:
            end = _end_of_code(text, match)
            yield text[match.start() : end]
        else:
            end = ends.get(match.start(), -1) if match[0] == "{" else _end_of_tag(text, match.end(), ends)
            if end < 0:
                end = match.end()
                yield match[0]
            else:
                left_out["tags and expressions"] += 1
        at = end
    yield text[at:]


def _ends_of_braces(text: str) -> dict[int, int]:
    """Map the position of every brace opened outside code to the end of its closing brace."""
    ends: dict[int, int] = {}
    open_braces: list[int] = []
    at = 0
    while match := (_IN_BRACES if open_braces else _OUTSIDE).search(text, at):
        at = match.end()
        if match[0] == "{":
            open_braces.append(match.start())
        elif match[0] == "}":
            ends[open_braces.pop()] = at
        elif not open_braces:
            at = _end_of_code(text, match)
    return ends


def _end_of_code(text: str, ticks: re.Match[str]) -> int:
    """Where inline code ends, or the end of its opening ticks if it is never closed."""
    end = text.find(ticks[0], ticks.end())
    return end + len(ticks[0]) if end >= 0 else ticks.end()


def _end_of_tag(text: str, at: int, ends: dict[int, int]) -> int:
    """Where a tag ends, respecting braces and strings inside it; -1 if another tag begins first."""
    while match := _IN_TAG.search(text, at):
        if match[0] == ">":
            return match.end()
        if match[0] == "<":
            return -1
        at = ends.get(match.start(), match.end())
    return -1
