"""The page, in a real browser: what is planted is found, everything works by keyboard, and nothing leaves loopback."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from contrast import CONTRAST
from live import Live, serving

from lang_jepa.inference.index import Index
from lang_jepa.serving.served import Served

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run")
PLANTED = "Seven old ships left the quiet harbour with salt and iron."
STORY = " ".join(
    [*(f"There were {n} birds." for n in range(3, 23)), PLANTED, *(f"There were {n} birds." for n in range(23, 33))]
)
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><b>bold</b> & <script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no browser: chromium, chromium-browser and google-chrome are not in PATH")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=BROWSER, args=list(ARGUMENTS))
        yield launched
        launched.close()


@contextmanager
def opened(browser: Any, live: Live, part: str = "", **given: Any) -> Iterator[Any]:
    """The page; at the end there was no error in it, and no request to another address."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **given})
    address, wrong, asked = f"http://127.0.0.1:{live.port}", list[str](), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/{part}")
    page.wait_for_selector("#model:has-text('reads')")
    yield page
    page.close()
    assert [one for one in wrong if "Failed to load resource" not in one] == []  # a refused request is no bug
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


def finish(page: Any, form: str = "read-form") -> str:
    """What is said once an answer is there."""
    return str(page.wait_for_selector(f"#{form} .status:not(.busy):not(:empty)").text_content())


def read(page: Any, text: str = STORY) -> None:
    page.fill("#text", text)
    page.click("#read-form button.main")
    assert finish(page).startswith("Read in"), finish(page)


def test_a_text_is_read_and_the_planted_sentence_is_marked(browser: Any, live: Live) -> None:
    study = live.post("/document", {"text": STORY}).body
    values = [unit["surprise"] for unit in study["units"]]
    place = max(range(1, len(values)), key=values.__getitem__)
    assert study["units"][place]["text"] == PLANTED, "else the text does not suit the model"
    with opened(browser, live) as page:
        read(page)
        units = page.locator("#units [role=option]")
        assert units.all_inner_texts()[:2] == ["There were 3 birds.", "There were 4 birds."]
        assert units.count() == len(values)
        chosen = page.locator("#units [aria-selected=true]")
        assert PLANTED in chosen.inner_text(), "the most surprising one is selected first"
        heats = units.evaluate_all("all => all.map(one => Number(one.style.getPropertyValue('--t')))")
        assert heats.index(max(heats)) == place
        assert "◆" in chosen.inner_text(), "it is out of place, too"
        panel = page.inner_text("#panel")
        assert f"Surprise +{values[place]:.2f}: more than all others" in panel
        assert "copying" in page.inner_text("#method"), "nothing was measured for this model"
        page.select_option("#using", "predictor")
        read(page)
        assert "Computed by prediction" in page.inner_text("#method")


def test_topics_repetitions_and_lines_are_drawn(browser: Any, live: Live) -> None:
    text = "\n".join(
        ["Anna went home.", "Tom sold a car.", "Anna went home.", *(f"It is {n} o'clock." for n in range(12))]
    )
    with opened(browser, live) as page:
        page.select_option("#format", "lines")
        read(page, text)
        study = live.post("/document", {"text": text, "format": "lines"}).body
        assert page.locator("#units [role=group]").count() == len(study["segments"])
        assert page.locator("#profile line").count() == len(study["boundaries"])
        again = {one["unit"]: one["earlier"] for one in study["repeated"]}
        assert again[2] == 0
        assert page.locator("#units .again").count() == len(again)
        page.locator("#units [role=option]").nth(2).click()
        assert "Repeats Anna went home." in page.inner_text("#panel")
        assert page.locator("#u2 .number").inner_text() == "3"
        page.check("#show-repeats")
        assert page.locator("#u2 .again").is_visible()
        page.uncheck("#show-repeats")
        assert not page.locator("#u2 .again").is_visible()


def test_keys_move_the_selection_and_panel_profile_and_map_follow(browser: Any, live: Live) -> None:
    with opened(browser, live) as page:
        read(page)
        page.locator("#u4").click()
        for key, at in (
            ("ArrowDown", 5),
            ("ArrowRight", 6),
            ("ArrowUp", 5),
            ("PageDown", 15),
            ("End", 30),
            ("ArrowDown", 30),
            ("Home", 0),
        ):
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.id") == f"u{at}", key
            assert page.inner_text("#panel h3").startswith(f"Sentence {at + 1} of 31")
            assert page.get_attribute("#here", "x") == str(at)
            assert page.get_attribute("#map .on", "data-unit") == str(at)
        assert "Nothing precedes it" in page.inner_text("#panel")
        page.locator("#map circle[data-unit='7']").click(force=True)
        assert page.get_attribute("#units [aria-selected=true]", "id") == "u7"
        page.locator("#map circle[data-unit='7']").hover(force=True)
        assert "There were 10 birds." in page.inner_text("#tip")
        before = page.get_attribute("#map", "viewBox")
        page.focus("#map")
        page.keyboard.press("+")
        width = float(page.get_attribute("#map", "viewBox").split()[2])
        assert width == pytest.approx(0.6 * float(before.split()[2]))
        page.keyboard.press("0")
        assert page.get_attribute("#map", "viewBox") == before


def test_the_panel_names_neighbours_and_what_was_expected(browser: Any, live: Live) -> None:
    around = live.post("/neighbours", {"text": STORY}).body["units"]
    study = live.post("/document", {"text": STORY}).body
    place = [unit["text"] for unit in study["units"]].index(PLANTED)
    with opened(browser, live) as page:
        read(page)
        panel = page.inner_text("#panel")
        assert study["units"][place]["expected"][0]["text"] in panel, "from the index"
        assert f"it is itself number {around[place]['rank']} of 31" in panel
        first = page.locator("#panel .near button").first
        assert first.inner_text() == study["units"][around[place]["expected"][0]["unit"]]["text"]
        first.click()
        assert page.get_attribute("#units [aria-selected=true]", "id") == f"u{around[place]['expected'][0]['unit']}"


def test_a_decoder_says_what_was_expected(browser: Any, decoder: Path) -> None:
    with serving(Served.open(decoder)) as live, opened(browser, live) as page:
        read(page)
        page.locator("#u3").click()
        before = page.locator("#units [role=option]").all_inner_texts()[:3]
        expected = live.post("/decode", {"context": before}).body["texts"][0]
        page.wait_for_selector("#decoded .said:not(:text-is('…'))")
        assert page.inner_text("#decoded .said") == " ".join(expected.split())


def test_files_are_opened(browser: Any, live: Live, tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "Good morning.\nIs it open?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
    ]
    (tmp_path / "talk.json").write_text(json.dumps({"messages": talk}), encoding="utf-8")
    (tmp_path / "talks.jsonl").write_text(
        "".join(json.dumps({"messages": talk}) + "\n" for _ in range(3)), encoding="utf-8"
    )
    (tmp_path / "app.log").write_text("INFO one\nINFO two\n", encoding="utf-8")
    (tmp_path / "story.md").write_text(STORY, encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "other.json").write_text('{"a": 1}', encoding="utf-8")
    with opened(browser, live) as page:
        for name, count, kind in (
            ("talk.json", 2, "turns"),
            ("talks.jsonl", 2, "turns"),
            ("app.log", 2, "lines"),
            ("story.md", 31, "auto"),
        ):
            page.set_input_files("#file", tmp_path / name)
            page.wait_for_selector("#read-form .status:has-text('Read in')")
            assert page.locator("#units [role=option]").count() == count, name
            assert page.input_value("#format") == kind
            page.fill("#text", "")
            page.click("#read-form button.main")
            assert "There is no text yet" in finish(page)
        for name, said in (("bytes.txt", "no text in UTF-8"), ("other.json", "no conversation")):
            page.set_input_files("#file", tmp_path / name)
            page.wait_for_selector(f"#read-form .status.wrong:has-text('{said}')")
        page.set_input_files("#file", tmp_path / "talk.json")
        page.wait_for_selector("#read-form .status:has-text('Read in')")
        assert page.input_value("#text") == "user: Good morning. Is it open?\nassistant: Yes."
        assert page.locator("#u0 .who").inner_text().strip() == "user"


def test_search_finds_the_known_sentence(browser: Any, live: Live, index: Path) -> None:
    known = Index.open(index).arrays.text(7)
    with opened(browser, live, "#search") as page:
        page.fill("#query", known)
        page.keyboard.press("Enter")
        assert "best first" in finish(page, "search-form")
        assert page.locator("#hits li").first.inner_text().split("\n")[0].startswith("1.000")
        assert page.locator("#hits li p").first.inner_text() == known
        assert page.locator("#hits li").first.locator("mark").inner_text() == known, "in its paragraph"
        assert (
            page.locator("#hits li").count() == len({*page.locator("#hits li p:not(.small)").all_inner_texts()}) == 10
        )
        page.check("[name=mode][value=after]")
        page.click("#search-form button.main")
        finish(page, "search-form")
        expected = live.post("/search", {"query": known, "mode": "after", "top_k": 1}).body["hits"][0]["text"]
        assert page.locator("#hits li p").first.inner_text() == expected


def test_candidates_are_ranked_and_replies_suggested(browser: Any, live: Live) -> None:
    context, candidates = (
        ["Anna went to the river.", "It was cold."],
        ["Tom sold a car.", "The birds flew away.", "Anna went home."],
    )
    ranked = live.post("/rank", {"context": context, "candidates": candidates}).body["ranked"]
    with opened(browser, live, "#conversation") as page:
        page.locator("#turns textarea").fill(context[0])
        page.click("#add")
        page.keyboard.type(context[1])
        page.check("[name=from][value=own]")
        page.fill("#candidates", "\n".join(candidates))
        page.click("#talk-form button.main")
        finish(page, "talk-form")
        rows = page.locator("#answers tbody tr")
        assert rows.locator("td:nth-child(2)").all_inner_texts() == [one["text"] for one in ranked]
        shown = [float(one.replace("−", "-")) for one in rows.locator("td:nth-child(4)").all_inner_texts()]
        assert shown == pytest.approx([one["copying"] for one in ranked], abs=0.006)
        page.check("#from-bank")
        page.click("#talk-form button.main")
        page.wait_for_selector("#answers .two")
        replies = live.post("/reply", {"context": context, "top_k": 5}).body
        for number, way in enumerate(("replies", "copying")):
            assert page.locator("#answers .two > div").nth(number).locator("li").count() == len(replies[way])


def test_the_run_is_drawn(browser: Any, live: Live) -> None:
    with opened(browser, live) as page:
        page.focus("#tab-read")
        page.keyboard.press("ArrowLeft")
        assert page.url.endswith("#run"), "from the first tab to the last"
        assert "Recipe concepts" in finish(page, "run-form")
        assert page.locator(".chart").first.locator("polyline").count() == 2
        assert "Nothing was measured yet" in page.inner_text("#run-result")
        assert page.evaluate("document.activeElement.id") == "tab-run"


def test_errors_are_words(browser: Any, run: Path) -> None:
    served = Served.open(run)
    with serving(served, max_characters=200) as live, opened(browser, live) as page:
        page.fill("#text", STORY)
        page.click("#read-form button.main")
        assert "at most 200 are read (--max-characters)" in finish(page)
        assert page.locator("#read-form .status.wrong").count() == 1
        page.click("#tab-search")
        assert "lang-jepa index RUN DATA" in page.inner_text("#search")
        assert not page.locator("#search-form").is_visible()
        page.click("#tab-conversation")
        assert page.locator("#from-bank").is_disabled()
        page.click("#tab-read")
        with live.busy():
            page.fill("#text", "Anna went home.")
            page.click("#read-form button.main")
            live.wait_for(1)
            assert page.inner_text("#read-form .status") == "Reading …"
            page.click("#read-form .cancel")
            assert finish(page) == "Cancelled."
    with ExitStack() as runs, opened(browser, runs.enter_context(serving(served))) as page:
        runs.close()
        page.fill("#text", STORY)
        page.click("#read-form button.main")
        assert "The server does not answer" in finish(page)


def test_a_key_is_asked_for_and_kept_in_memory_alone(browser: Any, run: Path) -> None:
    with serving(Served.open(run), api_key="open sesame") as live, opened(browser, live) as page:
        page.fill("#text", STORY)
        page.click("#read-form button.main")
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key:focus")
        page.wait_for_selector("#key-dialog[open]")
        page.keyboard.press("Escape")
        assert "does not know this key" in finish(page)
        page.click("#read-form button.main")
        page.fill("#key", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#read-form .status:has-text('Read in')")
        kept = page.evaluate("[Object.keys(localStorage), Object.keys(sessionStorage), document.cookie, location.href]")
        assert kept == [[], [], "", f"http://127.0.0.1:{live.port}/"]


def test_text_is_shown_as_text(browser: Any, live: Live) -> None:
    with opened(browser, live, "#conversation") as page:
        page.locator("#turns textarea").fill(HOSTILE)
        page.check("[name=from][value=own]")
        page.fill("#candidates", f"{HOSTILE}\nAnna went home.")
        page.click("#talk-form button.main")
        finish(page, "talk-form")
        assert HOSTILE in page.locator("#answers tbody td:nth-child(2)").all_inner_texts()
        page.click("#tab-read")
        page.select_option("#format", "lines")
        read(page, "\n".join([f"{HOSTILE} {n}" for n in range(12)]))
        assert HOSTILE in page.inner_text("#u3")
        assert HOSTILE[:40] in page.inner_text("#panel .said")
        page.locator("#u3").hover()
        assert page.locator("main img, main b:not(.who):not(.topic b), main script").count() == 0
        assert page.title() == "tiny-run – lang-jepa"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Any, live: Live, scheme: str) -> None:
    with opened(browser, live, color_scheme=scheme) as page:
        read(page)
        for heat in (0, 0.5, 1):  # text on every colour of the scale
            page.evaluate(
                "t => { document.querySelector('#u3').style.setProperty('--t', t); document.querySelector('#u3').append(Object.assign(document.createElement('i'), {className: 'glyph'})); }",
                heat,
            )
            assert page.evaluate(CONTRAST, "#u3") >= 4.5, heat
            assert page.evaluate(CONTRAST, "#u3 .glyph") >= 4.5, heat
        for selector in (
            "#model",
            "[aria-selected=false]",
            "[aria-selected=true]",
            ".lead",
            "#text",
            "#read-form .main",
            ".cancel",
            ".status",
            "#method",
            ".ends",
            "#next",
            ".topic, #panel h3",
            "#panel .num",
            ".map p",
        ):
            assert page.evaluate(CONTRAST, selector) >= 4.5, selector
        page.click("#theme")
        other = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (page.evaluate(CONTRAST, ".lead"), page.evaluate(CONTRAST, "#read-form .main")) >= (4.5, 4.5)
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != other


def test_a_narrow_screen_never_scrolls_sideways(browser: Any, live: Live) -> None:
    with opened(browser, live, viewport={"width": 360, "height": 740}) as page:
        read(page, f"{STORY} {'x' * 300}.")
        for part in ("read", "search", "conversation", "run"):
            page.click(f"#tab-{part}")
            if part == "search":
                page.fill("#query", "Anna " * 3)
                page.keyboard.press("Enter")
                finish(page, "search-form")
            elif part == "conversation":
                page.click("#talk-sample")
                page.click("#talk-form button.main")
                finish(page, "talk-form")
            elif part == "run":
                finish(page, "run-form")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, part


def test_every_control_has_a_name_and_a_visible_focus(browser: Any, live: Live) -> None:
    with opened(browser, live) as page:
        read(page)
        unnamed = page.evaluate(
            "[...document.querySelectorAll('button, select, textarea, input')].filter(one => !(one.getAttribute('aria-label') || one.labels?.length || one.textContent.trim())).map(one => one.outerHTML)"
        )
        assert unnamed == []
        page.focus("#tab-read")
        seen = []
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
            focused = (
                "(document.activeElement.id === 'file' ? document.activeElement.parentElement : document.activeElement)"
            )
            if page.evaluate("document.activeElement !== document.body"):
                assert page.evaluate(
                    f"parseFloat(getComputedStyle({focused}).outlineWidth) >= 2 && getComputedStyle({focused}).outlineStyle !== 'none'"
                ), seen[-1]
        assert {"theme", "text", "file", "format", "using", "show-topics", "next", "map", "panel"} <= set(seen)
        assert any(one.startswith("u") and one[1:].isdecimal() for one in seen), "one stop for the whole text"
