"""Convert reStructuredText to prose with headings, by our own rules.

docutils would need to know all directives and roles used by a page's author (Sphinx's and those of its extensions) and
reports unknown ones as errors in the text. Prose only requires telling paragraphs from content indented below markup.
"""

import re
from collections import Counter
from collections.abc import Generator, Iterator

FORMAT = 3

_ADMONITIONS = re.compile(
    "attention|caution|danger|error|hint|important|note|seealso|tip|warning|epigraph|highlights|pull-quote|"
    "(?P<titled>admonition|rubric|sidebar|topic)|(?P<versioned>versionadded|versionchanged|versionremoved|deprecated)"
)
"""Directives that contain prose."""
_DESCRIBED = re.compile(
    r"(?P<signed>(?:(?:py|c|cpp|js|rst|std):)?(?:(?:async|static|class|abstract|coroutine|awaitable)?(?:function|method)|"
    r"class|exception|data|attribute|property|decorator(?:method)?|module|var|member|type|macro|struct|union|enum|"
    r"enumerator|concept|directive|role|option|cmdoption|envvar|confval|setting|object|describe|opcode))|"
    r"only|container|compound|impl-detail|glossary|tab-set|tabs|grid|figure|"
    r"(?P<titled>tab-item|tab|group-tab|dropdown|details|collapse|card|grid-item|grid-item-card)"
)
"""Directives that describe something or only arrange prose; a signature is not prose."""
_COUNTED_AS = {
    **dict.fromkeys(("code", "code-block", "sourcecode", "literalinclude", "parsed-literal"), "code blocks"),
    **dict.fromkeys(("table", "csv-table", "list-table"), "tables"),
    "image": "images",
}
"""Directives that are left out under a name of their own."""
_NOTE = re.compile(r"\.\.\s+\[(?:\d+|#[\w.-]*|\*)\](?:\s+|$)")
"""The beginning of a footnote, but not of a citation."""
_REPLACED = re.compile(r"^\s*\.\.\s+\|([^|\s][^|\n]*)\|\s+(replace|image|unicode)::[ \t]*(.*)$")
_FLAG = r"(?:--?|/)[A-Za-z][\w-]{0,80}(?:[ =]<?[\w-]{1,80}>?)?"
_OPTION = re.compile(rf"{_FLAG}(?:, {_FLAG}){{0,3}}\s{{2,}}(?=\S)")
_LINE = re.compile(r"([!-/:-@\[-`{-~])\1{2,}")
_SIMPLE_TABLE = re.compile(r"=+(?:\s+=+)+")
_EXPLICIT = re.compile(r"\.\.(?:\s|$)")
_DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?([\w:.+-]+)::\s*(.*)")
_FIELD = re.compile(r":(?![ :`])(?:[^:\\\n`]|\\.){1,80}:(?:\s|$)")
_ITEM = re.compile(r"(?:[-*+•]|(?:\d{1,3}|[a-zA-Z]|#|[ivxlc]{1,6})[.)]|\(\w{1,3}\)|\|)\s+")
_INLINE = [
    (re.compile(r"``(.{1,500}?)``"), r"\1"),
    (re.compile(r"(?::[\w:.+-]{1,60}:)?`([^`<>]{1,300}?)\s*<[^`<>]{1,500}>`_{0,2}"), r"\1"),
    (re.compile(r"(?::[\w:.+-]{1,60}:)`[~!]?([^`]{1,500})`"), r"\1"),
    (re.compile(r"_?`([^`]{1,500})`_{0,2}"), r"\1"),
    (re.compile(r"\*\*([^*\s](?:[^*]{0,500}[^*\s])?)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s](?:[^*]{0,500}[^*\s])?)\*(?![\w*])"), r"\1"),
    (re.compile(r"\s?\[(?:#?[\w-]{0,40}|\*)\]_(?!\w)"), ""),
    (re.compile(r"(?<!\w)\|([^|\s][^|\n]{0,80})\|_{0,2}"), r"\1"),
    (re.compile(r"(?<!\w)([^\W_](?:[\w.-]{0,80}?[^\W_])?)__?(?!\w)"), r"\1"),
    (re.compile(r"\\(.)"), r"\1"),
]
"""Inline markup, most specific first, and what remains of it."""


def rst_prose(text: str) -> tuple[str, Counter[str]]:
    """Return the prose of a page, and counts of what was left out by kind."""
    left_out: Counter[str] = Counter()
    lines = [line.expandtabs(8).rstrip() for line in re.split(r"\r?\n", text)]
    replaced = {found[1]: found for line in lines if (found := _REPLACED.match(line))}
    blocks = (_plain(_replaced(block, replaced)) for block in _paragraphs(lines, left_out))
    return "\n\n".join(block for block in blocks if block), +left_out


def _replaced(block: str, known: dict[str, re.Match[str]]) -> str:
    """A paragraph with its substitutions replaced by their text; images become empty."""

    def text_of(match: re.Match[str]) -> str:
        found = known.get(match[1])
        return match[0] if found is None or found[2] == "unicode" else found[3] if found[2] == "replace" else ""

    return re.sub(r"(?<![\w`])\|([^|\s][^|\n]{0,80})\|_{0,2}(?!\w)", text_of, block) if known else block


def _plain(block: str) -> str:
    for pattern, kept in _INLINE:
        block = pattern.sub(kept, block)
    return block.strip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _paragraphs(lines: list[str], left_out: Counter[str]) -> Iterator[str]:
    """Yield paragraphs, headings and list items one by one."""
    at = options = plain = 0
    while at < len(lines):
        if at >= max(options, plain) and _OPTION.match(lines[at].strip()):
            options, plain = _end_of_options(lines, at)
        line = lines[at]
        text, indent = line.strip(), _indent(line)
        if not text:
            at += 1
        elif _EXPLICIT.match(text):
            at = yield from _explicit(lines, at, left_out)
        elif text.startswith("__ "):
            left_out["comments and targets"] += 1
            at += 1
        elif _FIELD.match(text):
            left_out["fields"] += 1
            at = _below(lines, at + 1, indent)
        elif text.startswith(("+-", "+=")) or _SIMPLE_TABLE.fullmatch(text):
            left_out["tables"] += 1
            at = _end_of_table(lines, at)
        elif text.startswith(">>>"):
            left_out["code blocks"] += 1
            at = _end_of_paragraph(lines, at)
        elif _LINE.fullmatch(text):
            at += 1
        else:
            at = yield from _paragraph(lines, at, left_out, options=at < options)


def _end_of_options(lines: list[str], at: int) -> tuple[int, int]:
    """Where a list of options ends, in which every item begins with an option; or where text that is not one ends."""
    indent, items = _indent(lines[at]), 0
    while at < len(lines) and lines[at] and _indent(lines[at]) >= indent:
        if _indent(lines[at]) == indent:
            if not _OPTION.match(lines[at].strip()):
                return 0, at
            items += 1
        at += 1
    return (at, 0) if items > 1 else (0, at)


def _paragraph(lines: list[str], at: int, left_out: Counter[str], *, options: bool) -> Generator[str, None, int]:
    """Yield one paragraph; returns the line after it and after any literal block that it introduces."""
    indent, parts = _indent(lines[at]), [lines[at].strip()]
    item = (options and _OPTION.match(parts[0])) or _ITEM.match(parts[0])
    if item:
        parts[0] = parts[0][item.end() :]
    at += 1
    while at < len(lines) and (text := lines[at].strip()):
        deeper = _indent(lines[at]) > indent
        if options and not deeper:
            break
        if _LINE.fullmatch(text) or (_ITEM.match(text) and (item or deeper)) or _EXPLICIT.match(text):
            break
        if not item and _indent(lines[at]) != indent:
            break
        parts.append(text)
        at += 1
    joined = " ".join(parts)
    literal = joined.endswith("::")
    if literal:
        left_out["code blocks"] += 1
        joined = joined[:-1] if len(joined) > 2 and joined[-3] != " " else joined[:-2]
        at = _below(lines, at, indent)
    yield joined
    return at


def _explicit(lines: list[str], at: int, left_out: Counter[str]) -> Generator[str, None, int]:
    """Yield the prose of explicit markup (`..`), such as admonitions and footnotes; returns the line after it."""
    line = lines[at]
    end = _below(lines, at + 1, _indent(line))
    found = _DIRECTIVE.match(line.strip())
    prose = _ADMONITIONS.fullmatch(found[1]) if found else None
    described = _DESCRIBED.fullmatch(found[1]) if found else None
    if found and prose:
        argument = found[2].partition(" ")[2] if prose["versioned"] else found[2]
        first = at + 1
        while first < end and _FIELD.match(lines[first].strip()):
            first += 1
        body = lines[first:end]
        margin = min((_indent(one) for one in body if one), default=0)
        begin = [argument, ""] if prose["titled"] else [" " * margin + argument]
        yield from _paragraphs([*begin, *body], left_out)
    elif note := _NOTE.match(line.strip()):
        margin = min((_indent(one) for one in lines[at + 1 : end] if one), default=0)
        yield from _paragraphs([" " * margin + line.strip()[note.end() :], *lines[at + 1 : end]], left_out)
    elif found and described:
        left_out["images"] += found[1] == "figure"
        first = at + 1
        while first < end and (
            _FIELD.match(lines[first].strip()) or (described["signed"] and lines[first] and all(lines[at:first]))
        ):
            first += 1
        prose_below = list(_paragraphs(lines[first:end], left_out))
        if any(prose_below) and described["titled"] and found[2]:
            yield found[2]
        yield from prose_below
    else:
        left_out[_COUNTED_AS.get(found[1], "directives") if found else "comments and targets"] += 1
    return end


def _below(lines: list[str], at: int, indent: int) -> int:
    """The first line from `at` on that is neither blank nor indented deeper than `indent`."""
    while at < len(lines) and (not lines[at] or _indent(lines[at]) > indent):
        at += 1
    return at


def _end_of_paragraph(lines: list[str], at: int) -> int:
    while at < len(lines) and lines[at]:
        at += 1
    return at


def _end_of_table(lines: list[str], at: int) -> int:
    """The line after a table: a grid ends at a blank line, a simple table at a border followed by a blank line."""
    if lines[at].strip().startswith("+"):
        return _end_of_paragraph(lines, at)
    at += 1
    while at < len(lines):
        border = _SIMPLE_TABLE.fullmatch(lines[at].strip())
        at += 1
        if border and (at == len(lines) or not lines[at]):
            break
    return at
