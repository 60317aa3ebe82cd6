"""Convert HTML to prose with headings: the text of a page without navigation, scripts, code and tables."""

import codecs
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from lang_jepa.data.sources.base import Unreadable

FORMAT = 3

_LEFT_OUT = {
    "script": "scripts and styles", "style": "scripts and styles", "noscript": "scripts and styles",
    "template": "scripts and styles", "nav": "navigation", "footer": "navigation", "form": "forms",
    "button": "forms", "select": "forms", "textarea": "forms", "pre": "code blocks", "img": "images",
    "svg": "images", "picture": "images", "canvas": "images", "video": "images", "audio": "images",
    "iframe": "images", "object": "images", "math": "formulas", "table": "tables", "rt": "readings",
}  # fmt: skip
"""Elements that are not prose, with the name under which they are counted."""
_WITHIN = {"script", "style", "template", "button", "img", "picture", "svg", "math", "rt"}
"""Those of them that may occur within a sentence, which continues after them."""
_NEVER = {"title", "meta", "link", "rp"}
"""Elements that a page does not show."""
_INLINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|nobr|q|rp|rt|ruby|s|samp|small|span|"
    "strike|strong|sub|sup|time|tt|u|var|wbr"
)
"""Elements that do not end a paragraph."""
_LAYOUT = "td table, td h1, td h2, td h3, td article"
"""Cell contents that identify a layout table as opposed to a data table."""
_COLUMNS = "td + td, td + th, th + td, th + th"
_PARAGRAPHS = "p, h1, h2, h3, h4, h5, h6, li"
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_MARK = re.compile(r"<(/?)([a-zA-Z][\w-]*)")
_SELF_CLOSED = re.compile(
    "p|li|t[dhr]|thead|tbody|tfoot|d[dt]|option|optgroup|r[tp]|area|base|br|col|embed|hr|img|input|link|meta|source|wbr",
    re.IGNORECASE,
)
"""Elements that need no closing tag."""
DEEPEST = 10_000
"""Maximum nesting depth, because the parser's time grows with its square."""
_XML = re.compile(r"\s*<\?xml\b|\s*<!DOCTYPE[^>]*\bXHTML\b", re.IGNORECASE)
_ENDED = re.compile(r"<([a-zA-Z][\w:-]*)((?:\s[^<>]*)?)/>")
"""A self-closed element, which HTML would read as an opening tag."""
_VALUES = re.compile(r""""[^"]*"|'[^']*'|\([^()]*\)""")
"""Quoted and bracketed parts of a style."""
_DECLARED = re.compile(r"(?:^|;)\s*(display|visibility)\s*:([^;!]*)(!?)", re.IGNORECASE)
_HIDING = {("display", "none"), ("visibility", "hidden")}
_SPACE = re.compile(r"[ \t\r\n\f\v]+")
_BREAKS = re.compile(r"\v\s*\v\s*")


def html_prose(text: str) -> tuple[str, Counter[str]]:
    """Return the prose of a page or a fragment, paragraph by paragraph, and counts of what was left out by kind.

    Raises:
        Unreadable: elements are nested more than DEEPEST deep.
    """
    left_out: Counter[str] = Counter()
    if _XML.match(text):
        text = _ENDED.sub(_with_end, text)
    _check_depth(text)
    root = LexborHTMLParser(text).root
    if root is None:
        return "", left_out
    pieces = _BREAKS.sub("\0", "".join(_pieces(root, left_out)))
    blocks = (_SPACE.sub(" ", block).strip() for block in pieces.split("\0"))
    return "\n\n".join(block for block in blocks if block), left_out


def _with_end(match: re.Match[str]) -> str:
    return match[0] if _SELF_CLOSED.fullmatch(match[1]) else f"<{match[1]}{match[2]}></{match[1]}>"


def _check_depth(text: str) -> None:
    depth = 0
    for slash, name in _MARK.findall(text):
        if not _SELF_CLOSED.fullmatch(name):
            depth = max(depth - 1, 0) if slash else depth + 1
            if depth > DEEPEST:
                raise Unreadable(f"HTML of more than {DEEPEST:,} elements inside each other")


def declared_text(content: bytes) -> str | None:
    """A page's text in the encoding that its head declares; None if it declares none, or a wrong one."""
    match = _CHARSET.search(content[:4096])
    if match is None:
        return None
    try:
        name = codecs.lookup(match[1].decode("ascii", "replace")).name
        # A declaration found as single bytes rules out UTF-16. Browsers read Latin-1 as Windows-1252.
        return None if name.startswith("utf") else content.decode("cp1252" if name == "iso8859-1" else name)
    except (LookupError, UnicodeError):
        return None


def _pieces(root: LexborNode, left_out: Counter[str]) -> Iterator[str]:
    """Yield the page's text in order, with a NUL where a paragraph begins or ends and a vertical tab per line break."""
    node, main = root, _main(root)
    while True:
        tag, enter = node.tag or "", False
        if tag == "-text":
            yield (node.text_content or "").replace("\0", " ").replace("\v", " ")
        elif tag == "br":
            yield "\v"
        elif kind := _kind(node, main):
            left_out[kind] += 1
            block = tag == "math" and node.attributes.get("display") == "block"
            within = tag in _WITHIN or _INLINE.fullmatch(tag)
            yield "" if within and not block else "\0"
        elif tag[:1].isalpha() and tag not in _NEVER:
            enter = True
            yield "" if _INLINE.fullmatch(tag) else "\0"
        if enter and node.child is not None:
            node = node.child
            continue
        while (following := node.next) is None:
            if node.parent is None or node.mem_id == root.mem_id:
                return
            node = node.parent
            yield "" if _INLINE.fullmatch(node.tag or "") else "\0"
        if node.mem_id == root.mem_id:
            return
        node = following


def _main(root: LexborNode) -> set[int]:
    """Ids of the elements that contain most of the page's paragraphs; all of them enclose the middle paragraph.

    Data tables are excluded: they have several columns, and no cell that contains most paragraphs.
    """
    paragraphs = root.css(_PARAGRAPHS)
    around: list[LexborNode] = []
    node = paragraphs[len(paragraphs) // 2].parent if paragraphs else None
    while node is not None:
        around.append(node)
        node = node.parent
    first = bisect_left(around, True, key=lambda node: 2 * len(node.css(_PARAGRAPHS)) > len(paragraphs))
    main: set[int] = set()
    cell = False
    for node in around[first:]:
        cell = cell or node.tag in ("td", "th")
        if node.tag != "table" or cell or node.css_first(_COLUMNS) is None:
            main.add(node.mem_id)
    return main


def _kind(node: LexborNode, main: set[int]) -> str | None:
    """The kind under which an element is left out, or None if it is read."""
    tag, most = node.tag or "", node.mem_id in main
    if tag in ("html", "body") or (tag == "form" and most):
        return None
    if tag == "table":
        return None if most or node.css_first(_LAYOUT) is not None else _LEFT_OUT[tag]
    if tag in _LEFT_OUT:
        return _LEFT_OUT[tag]
    attributes = node.attributes
    if not attributes:
        return None
    if attributes.get("role") in ("navigation", "banner", "contentinfo", "search"):
        return "navigation"
    hidden = (attributes.get("hidden") or "").lower() != "until-found" and "hidden" in attributes
    if hidden or attributes.get("aria-hidden") == "true" or (_hides(attributes.get("style")) and not most):
        return "hidden elements"
    return "anchors" if "headerlink" in (attributes.get("class") or "") else None


def _hides(style: str | None) -> bool:
    """Whether a style hides its element, by the last declaration of each property, or the last `!important` one."""
    counts: dict[str, tuple[str, str]] = {}
    for name, value, important in _DECLARED.findall(_VALUES.sub("", style or "")):
        if important or not counts.get(name.lower(), ("", ""))[1]:
            counts[name.lower()] = (value.strip().lower(), important)
    return any((name, value) in _HIDING for name, (value, _) in counts.items())
