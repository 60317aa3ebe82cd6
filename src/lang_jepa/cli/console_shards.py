"""The table of the command `bits`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lang_jepa.cli.console import figures_table

if TYPE_CHECKING:
    from lang_jepa.evaluation.baselines.compression import Baseline


def baseline_table(rows: "Iterable[Baseline]", *, title: str) -> None:
    """Bits per byte of methods without a trained model, worst first."""
    lines = []
    for row in rows:
        nats = "" if row.nats_per_token is None else f"{row.nats_per_token:.4f}"
        lines.append([row.name, f"{row.bits_per_byte:.4f}", nats, f"{row.seconds:.1f}"])
    figures_table(["", "bits per byte", "nats per token", "seconds"], lines, title=title)
