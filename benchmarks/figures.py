"""The line in which a benchmark prints a ratio, and its parser for `table.py`."""

import re

_LINE = re.compile(r"^figure: (?P<name>.+) = (?P<value>[-+.\de]+)$", re.MULTILINE)


def figure(name: str, value: float) -> None:
    """Print a figure under the name by which `table.py` knows it."""
    print(f"figure: {name} = {value:.4g}", flush=True)


def read_figures(output: str) -> dict[str, float]:
    """Parse the figures in the output of a benchmark."""
    return {found["name"]: float(found["value"]) for found in _LINE.finditer(output)}
