"""The line in which a benchmark prints a ratio, and its parser for `table.py`."""

import re

_LINE = re.compile(r"^metric: (?P<name>.+) = (?P<value>[-+.\de]+)$", re.MULTILINE)


def metric(name: str, value: float) -> None:
    """Print a metric under the name by which `table.py` knows it."""
    print(f"metric: {name} = {value:.4g}", flush=True)


def read_metrics(output: str) -> dict[str, float]:
    """Parse the metrics in the output of a benchmark."""
    return {found["name"]: float(found["value"]) for found in _LINE.finditer(output)}
