"""The one line in which a benchmark says a ratio, so that `table.py` can read it."""

import re

_LINE = re.compile(r"^figure: (?P<name>.+) = (?P<value>[-+.\de]+)$", re.MULTILINE)


def figure(name: str, value: float) -> None:
    """Print a figure under the name that `table.py` knows it by."""
    print(f"figure: {name} = {value:.4g}", flush=True)


def read_figures(output: str) -> dict[str, float]:
    """The figures in what a benchmark printed."""
    return {found["name"]: float(found["value"]) for found in _LINE.finditer(output)}
