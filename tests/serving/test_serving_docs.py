"""The examples of docs/serve.md, asked of a server."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from live import Live

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    found = re.search(rf"<!-- test: file {re.escape(name)} -->\n```python\n(.*?)^```", PAGE, re.S | re.M)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(("name", "lines"), [("openai_client.py", 1), ("ask.py", 7)])
def test_python_examples_run(name: str, lines: int, live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    code = example(name).replace("127.0.0.1:8000", f"127.0.0.1:{live.port}").replace('"mine"', '"tiny-run"')
    exec(compile(code, name, "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == lines


def test_curl_examples_run(live: Live) -> None:
    commands = [line for line in PAGE.splitlines() if line.startswith("curl ")]
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{live.port}"))
        done = subprocess.run([*words, "-s", "--fail"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("{")


def test_the_page_names_every_endpoint_and_limit(live: Live) -> None:
    from lang_jepa.serving.guard import Rules

    for path in live.ask("GET", "/openapi.json").body["paths"]:
        assert f"{path}`" in PAGE, path
    rules = Rules()
    for value in (rules.max_body, rules.max_texts, rules.max_characters, rules.queue):
        assert f"| {value:,} " in PAGE
    assert f"| {rules.timeout:g} seconds" in PAGE
