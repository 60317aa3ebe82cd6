"""The table of the command `bits`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from lang_jepa.console import titled

if TYPE_CHECKING:
    from lang_jepa.evaluation.compression_baselines import Baseline


def baseline_table(rows: "Iterable[Baseline]", *, title: str) -> None:
    """Bits per byte of methods without a trained model, worst first."""
    table = Table(header_style="bold")
    table.add_column("")
    for heading in ("bits per byte", "nats per token", "seconds"):
        table.add_column(heading, justify="right")
    for row in rows:
        nats = "" if row.nats_per_token is None else f"{row.nats_per_token:.4f}"
        table.add_row(row.name, f"{row.bits_per_byte:.4f}", nats, f"{row.seconds:.1f}")
    titled(title, table)
