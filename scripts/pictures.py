"""Make the pictures of README.md and docs/ again, by the program itself: `make pictures`.

Terminals are SVG files of what a command prints in so many columns. The page of `lang-jepa serve` is photographed
in Chromium through playwright; without a browser its pictures stay as they are, and the script ends with status 3.
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
from pathlib import Path

from rich.console import Console
from rich.text import Text

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
)
"""What is trained first, in a folder that is thrown away: the commands of docs/logs.md and docs/dialogues.md."""

TERMINALS = (
    ("monitor", "monitor runs/log examples/new.log --per-thousand 5", 120),
    ("rank", "rank runs/dialogue --context examples/new_chat.json --candidates examples/answers.txt", 80),
    ("help", "--help", 80),
)


def printed(command: str, columns: int, folder: Path) -> str:
    """What a command shows on a terminal of so many columns, with its colours.

    Raises:
        SystemExit: the command failed; with what it said.
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
            except OSError:  # Linux: the other side is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    text = b"".join(parts).decode(errors="replace").replace("\r\n", "\n")
    if process.returncode:
        raise SystemExit(f"lang-jepa {command}: status {process.returncode}\n{text}")
    return "\n".join(line.rpartition("\r")[2] for line in text.splitlines())  # what a bar drew over


def draw(name: str, command: str, columns: int, text: str) -> None:
    """Write docs/images/NAME.svg, which needs no font from elsewhere."""
    console = Console(record=True, width=columns, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    console.print(Text(f"$ lang-jepa {command}", style="bold"))
    console.print(Text.from_ansi(text))
    svg = console.export_svg(title="lang-jepa", unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (IMAGES / f"{name}.svg").write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")
    print(IMAGES / f"{name}.svg")


def photograph(folder: Path) -> bool:
    """Write docs/images/page.png and page-dark.png: a conversation on the page of `lang-jepa serve`.

    Returns:
        Whether there was a browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None or importlib.util.find_spec("playwright") is None:
        print(f"no browser ({', '.join(BROWSERS)}) or no playwright: the pictures of the page stay as they are")
        return False
    from playwright.sync_api import sync_playwright

    command = [str(PROGRAM), "serve", "runs/dialogue", "--index", "index", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://[\d.:]+", server.stdout.readline())
            if found is None:
                raise SystemExit("lang-jepa serve did not say its address")
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
                for scheme, name in (("light", "page"), ("dark", "page-dark")):
                    page = chromium.new_page(viewport={"width": 1200, "height": 1100}, color_scheme=scheme)
                    page.goto(found[0])
                    page.get_by_role("button", name="Read a conversation").click()
                    page.wait_for_selector("#read-form .status:has-text('Read in')")
                    page.mouse.move(0, 0)
                    page.screenshot(path=IMAGES / f"{name}.png")
                    print(IMAGES / f"{name}.png")
        finally:
            server.terminate()
    return True


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "examples").symlink_to(ROOT / "examples")
        for command in TRAINING:
            print("lang-jepa", command, flush=True)
            printed(command, 80, folder)
        for name, command, columns in TERMINALS:
            draw(name, command, columns, printed(command, columns, folder))
        if not photograph(folder):
            sys.exit(3)


if __name__ == "__main__":
    main()
