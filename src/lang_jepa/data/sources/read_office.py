"""The text of PDF and Word files, by libraries that come with the extra `documents`."""

import logging
import re
import zipfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from lang_jepa.data.sources.base import Unreadable
from lang_jepa.errors import LangJepaError, first_line

FORMAT = 1
LARGEST = 1 << 29
"""Bytes that the parts of a Word file may take when they are unpacked."""
_LIBRARIES = {"PDF": ("pypdf", "pypdf"), "Word": ("docx", "python-docx")}
_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")


def require(kind: str) -> None:
    """Raise unless the library that reads a kind of file is installed.

    Raises:
        LangJepaError: names the extra.
    """
    module, name = _LIBRARIES[kind]
    if find_spec(module) is None:
        raise LangJepaError(
            f"{kind} files are read with {name}, which is not installed: pip install 'lang-jepa[documents]'. In a "
            "folder they can also be left out, with data.exclude."
        )


def pdf_prose(path: Path) -> tuple[str, Counter[str]]:
    """The text of all pages; words that are divided at the end of a line are joined.

    Raises:
        Unreadable: damaged, encrypted, or without text (scanned pages).
    """
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it cannot read is told as a fault
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted PDF")
        pages = [page.extract_text() for page in reader.pages]
    except Unreadable:
        raise
    except Exception as error:  # a damaged file makes the library raise anything
        raise Unreadable("damaged PDF", first_line(error)) from error
    text = "\n".join(page.strip() for page in pages)
    if not text.strip():
        raise Unreadable("PDF without text (scanned pages?)")
    return _HYPHEN.sub("", text), Counter()


def word_prose(path: Path) -> tuple[str, Counter[str]]:
    """The text of all paragraphs and headings; tables are left out and counted.

    Raises:
        Unreadable: damaged, or larger than LARGEST when it is unpacked.
    """
    import docx

    try:
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > LARGEST:
                raise Unreadable(f"Word file of more than {LARGEST >> 20} MiB")
        document = docx.Document(str(path))
        texts = [paragraph.text.strip() for paragraph in document.paragraphs]
        tables = len(document.tables)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file makes the library raise anything
        raise Unreadable("damaged Word file", first_line(error)) from error
    return "\n\n".join(text for text in texts if text), +Counter({"tables": tables})
