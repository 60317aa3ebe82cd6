"""What the commands about token data draw on the terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lang_jepa.console import console, figures_table

if TYPE_CHECKING:
    from lang_jepa.data.make_shards import ShardProgress
    from lang_jepa.evaluation.compression_baselines import Baseline


class ShardBar:
    """The progress of token shards that are being made."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("reading", total=None, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._progress.stop()

    def tell(self, progress: "ShardProgress") -> None:
        """The bar moves; sentences stay."""
        if progress.message:
            style = "bold yellow" if progress.stage == "warning" else ""
            console.print(progress.message, style=style, highlight=False, markup=False, soft_wrap=True)
        if progress.stage in _SHARD_STAGES:
            self._progress.update(
                self._task,
                description=_SHARD_STAGES[progress.stage],
                total=progress.total,
                completed=progress.characters,
                figures=f"{progress.characters / 1e6:,.1f} million characters",
            )


_SHARD_STAGES = {"tokenizer": "reading for the tokenizer", "shards": "writing shards"}


def baseline_table(rows: "Iterable[Baseline]", *, title: str) -> None:
    """Bits per byte of methods without a trained model, worst first."""
    lines = []
    for row in rows:
        nats = "" if row.nats_per_token is None else f"{row.nats_per_token:.4f}"
        lines.append([row.name, f"{row.bits_per_byte:.4f}", nats, f"{row.seconds:.1f}"])
    figures_table(["", "bits per byte", "nats per token", "seconds"], lines, title=title)
