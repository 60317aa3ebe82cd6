"""The docs site: built whole and strictly, every page within reach, nothing fetched from elsewhere, no link that leads nowhere."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from selectolax.lexbor import LexborHTMLParser

ROOT = Path(__file__).parents[2]
PAGES = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}


def named(entry: object) -> list[str]:
    """The pages that a part of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in named(part)]


def test_the_navigation_names_every_page_but_the_single_experiments():
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    pages = named(project["nav"])
    assert len(pages) == len(set(pages))
    assert set(pages) == {page for page in PAGES if not page.startswith("experiments/2")}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built in a copy of what it is made of."""
    pytest.importorskip("zensical")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_each_page_is_there_and_links_within_the_site_lead_somewhere(site):
    pages = {page: LexborHTMLParser(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    ids = {page: {node.attributes["id"] for node in tree.css("[id]")} for page, tree in pages.items()}
    assert len(pages) == len(PAGES) + 1  # and 404.html
    broken = []
    for page, tree in pages.items():
        if page.name == "404.html":  # its links are those of the root
            continue
        for node in tree.css("a[href], img[src]"):
            address = urlsplit(node.attributes.get("href") or node.attributes.get("src") or "")
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                address.fragment and address.fragment not in ids.get(target, {address.fragment})
            ):
                broken.append(f"{page.relative_to(site)} -> {address.geturl()}")
    assert not broken


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        tree = LexborHTMLParser(page.read_text(encoding="utf-8"))
        fetched = tree.css(
            "script[src], img[src], iframe[src], link[rel=stylesheet], link[rel=preconnect], link[rel=icon]"
        )
        addresses = [node.attributes.get("src") or node.attributes.get("href") or "" for node in fetched]
        assert not [address for address in addresses if urlsplit(address).netloc], page
