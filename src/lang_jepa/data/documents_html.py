"""HTML as prose with headings: the text of the page without navigation, scripts, code and tables."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from lang_jepa.data.documents_rows import Unreadable

FORMAT = 1

_LEFT_OUT = {
    "script": "scripts and styles",
    "style": "scripts and styles",
    "noscript": "scripts and styles",
    "template": "scripts and styles",
    "nav": "navigation",
    "footer": "navigation",
    "form": "forms",
    "button": "forms",
    "select": "forms",
    "textarea": "forms",
    "pre": "code blocks",
    "img": "images",
    "svg": "images",
    "picture": "images",
    "canvas": "images",
    "video": "images",
    "audio": "images",
    "iframe": "images",
    "object": "images",
    "math": "formulas",
    "table": "tables",
}
"""Elements that are no prose, by what they are called when they are counted."""
_NEVER = {"title", "meta", "link"}
"""Those that a page does not show."""
_INLINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|q|rp|rt|ruby|s|samp|small|span|"
    "strike|strong|sub|sup|time|tt|u|var|wbr"
)
"""Elements that do not end a paragraph."""
_LAYOUT = "td table, td h1, td h2, td h3, td article"
"""What a table that lays a page out has in its cells, and a table of data has not."""
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_MARK = re.compile(r"<(/?)([a-zA-Z][\w-]*)")
_SELF_CLOSED = re.compile(
    "p|li|t[dhr]|thead|tbody|tfoot|d[dt]|option|optgroup|r[tp]|area|base|br|col|embed|hr|img|input|link|meta|source|wbr",
    re.IGNORECASE,
)
"""Elements that need no end."""
DEEPEST = 10_000
"""Elements inside each other at most: the parser's time grows with the square of them."""
_SPACE = re.compile(r"[ \t\r\n\f]+")


def html_prose(text: str) -> tuple[str, Counter[str]]:
    """The prose of a page or of a piece of one, paragraph by paragraph, and what was left out by kind.

    Raises:
        Unreadable: more than DEEPEST elements inside each other.
    """
    left_out: Counter[str] = Counter()
    _check_depth(text)
    root = LexborHTMLParser(text).root
    if root is None:
        return "", left_out
    blocks = (_SPACE.sub(" ", block).strip() for block in "".join(_pieces(root, left_out)).split("\0"))
    return "\n\n".join(block for block in blocks if block), left_out


def _check_depth(text: str) -> None:
    depth = 0
    for slash, name in _MARK.findall(text):
        if not _SELF_CLOSED.fullmatch(name):
            depth = max(depth - 1, 0) if slash else depth + 1
            if depth > DEEPEST:
                raise Unreadable(f"HTML of more than {DEEPEST:,} elements inside each other")


def declared_text(content: bytes) -> str | None:
    """A page's text by the encoding that its head declares; None if it declares none, or another than it has."""
    match = _CHARSET.search(content[:4096])
    if match is None:
        return None
    try:
        name = codecs.lookup(match[1].decode("ascii", "replace")).name
        # What is declared in single bytes cannot be in two; and browsers read Latin-1 as Windows' own.
        return None if name.startswith("utf") else content.decode("cp1252" if name == "iso8859-1" else name)
    except (LookupError, UnicodeError):
        return None


def _pieces(root: LexborNode, left_out: Counter[str]) -> Iterator[str]:
    """The page's text in order, with a NUL wherever a paragraph begins or ends."""
    node = root
    while True:
        tag, enter = node.tag or "", False
        if tag == "-text":
            yield (node.text_content or "").replace("\0", " ")
        elif tag == "br":
            yield " "
        elif kind := _kind(node):
            left_out[kind] += 1
            yield "" if tag == "img" else "\0"
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


def _kind(node: LexborNode) -> str | None:
    """What an element is that is left out; None where it is read."""
    tag = node.tag or ""
    if tag == "table":
        return None if node.css_first(_LAYOUT) is not None else _LEFT_OUT[tag]
    if tag in _LEFT_OUT:
        return _LEFT_OUT[tag]
    attributes = node.attributes
    if not attributes:
        return None
    if attributes.get("role") in ("navigation", "banner", "contentinfo", "search"):
        return "navigation"
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return "hidden elements"
    return "anchors" if "headerlink" in (attributes.get("class") or "") else None
