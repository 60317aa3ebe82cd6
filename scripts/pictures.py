"""Regenerate the pictures of README.md and docs/ from the program itself: `make pictures`.

Terminal pictures are SVG files of a command's output at a given width. Screenshots of the pages of `lang-jepa
serve` and `lang-jepa try` and of a stored notebook are taken in Chromium through playwright; without a browser these
pictures stay unchanged and the script ends with status 3.
"""

import importlib.util
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PROGRAM = Path(sys.executable).with_name("lang-jepa")

TRAINING = (
    "train log -o data.train_file=examples/app.log",
    "train dialogue -o data.train_file=examples/chats.jsonl -o data.val_fraction=0.1 -o model.embed_dim=96"
    " -o model.pred_dim=96 -o optimization.max_steps=200",
    "evaluate runs/dialogue",
    "index runs/dialogue examples/chats.jsonl --output index --predictions",
    "try examples/app.log --output try-log --minutes 1",
)
"""Commands to run first, in a temporary folder: those of docs/logs.md, docs/dialogues.md and docs/try.md."""

TERMINALS = (
    ("monitor", "monitor runs/log examples/new.log --per-thousand 5", 120),
    ("monitor-80", "monitor runs/log examples/new.log --per-thousand 5", 80),
    ("help", "--help", 80),
)


def printed(command: str, columns: int, folder: Path) -> str:
    """Return what a command prints on a terminal of a given width, including colours.

    Raises:
        SystemExit: the command failed; includes its output.
    """
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "COLUMNS": str(columns),
        "LINES": "60",
        "TERM": "xterm-256color",
        "OMP_NUM_THREADS": "2",
    }
    words = [str(PROGRAM), *shlex.split(command)]
    with subprocess.Popen(words, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # on Linux: the other end is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    text = b"".join(parts).decode(errors="replace").replace("\r\n", "\n")
    if process.returncode:
        raise SystemExit(f"lang-jepa {command}: status {process.returncode}\n{text}")
    return "\n".join(line.rpartition("\r")[2] for line in text.splitlines())  # drop what a progress bar drew over


def draw(name: str, command: str, columns: int, text: str) -> None:
    """Write docs/images/NAME.svg, without references to external fonts."""
    console = Console(record=True, width=columns, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    console.print(Text(f"$ lang-jepa {command}", style="bold"))
    console.print(Text.from_ansi(text))
    svg = console.export_svg(title="lang-jepa", unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (IMAGES / f"{name}.svg").write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")
    print(IMAGES / f"{name}.svg")


@contextmanager
def browser() -> "Iterator[Browser | None]":
    """Provide Chromium; None, with a message, if there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None or importlib.util.find_spec("playwright") is None:
        print(f"no browser ({', '.join(BROWSERS)}) or no playwright: what is photographed stays as it is")
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])


def photograph_page(chromium: "Browser", folder: Path) -> None:
    """Write docs/images/page.png and page-dark.png: a conversation on the page of `lang-jepa serve`."""
    command = [str(PROGRAM), "serve", "runs/dialogue", "--index", "index", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://[\d.:]+", server.stdout.readline())
            if found is None:
                raise SystemExit("lang-jepa serve did not say its address")
            for scheme, name in (("light", "page"), ("dark", "page-dark")):
                page = chromium.new_page(viewport={"width": 1200, "height": 1150}, color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(found[0])
                page.get_by_role("button", name="Read a conversation").click()
                page.wait_for_selector("#read-form .status:has-text('Read in')")
                page.mouse.move(0, 0)
                page.screenshot(path=IMAGES / f"{name}.png")
                print(IMAGES / f"{name}.png")
        finally:
            server.terminate()
            server.communicate()


def photograph_trial(chromium: "Browser", folder: Path) -> None:
    """Write docs/images/try.png: the beginning of the page that `lang-jepa try` made of a log."""
    page = chromium.new_page(viewport={"width": 1040, "height": 1250})
    page.goto((folder / "try-log" / "report.html").as_uri())
    page.screenshot(path=IMAGES / "try.png")
    print(IMAGES / "try.png")


def photograph_notebook(chromium: "Browser", name: str, first: str, after: str) -> None:
    """Write docs/images/notebook.png: the part of a notebook between two headings, without network requests."""
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter(template_name="lab").from_filename(str(ROOT / "examples" / name))
    page = chromium.new_page(viewport={"width": 900, "height": 1200})
    page.route("**/*", lambda route: route.abort())
    page.set_content(html)
    tops = []
    for heading in (first, after):
        box = page.get_by_role("heading", name=heading).bounding_box()
        if box is None:
            raise SystemExit(f"{name} has no heading {heading!r}")
        tops.append(box["y"] - 8)
    clip = {"x": 0, "y": tops[0], "width": 900, "height": tops[1] - tops[0]}
    page.screenshot(path=IMAGES / "notebook.png", clip=clip, full_page=True)  # type: ignore[arg-type]
    print(IMAGES / "notebook.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "examples").symlink_to(ROOT / "examples")
        for command in TRAINING:
            print("lang-jepa", command, flush=True)
            printed(command, 80, folder)
        for name, command, columns in TERMINALS:
            draw(name, command, columns, printed(command, columns, folder))
        with browser() as chromium:
            if chromium is None:
                sys.exit(3)
            photograph_notebook(chromium, "own_documents.ipynb", "What does not belong", "Does prediction help?")
            photograph_trial(chromium, folder)
            photograph_page(chromium, folder)


if __name__ == "__main__":
    main()
