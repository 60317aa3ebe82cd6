"""What every run directory holds when the run is through."""

from pathlib import Path

from systems import System

from lang_jepa.training.checkpoint import load_checkpoint
from lang_jepa.training.metrics import STEP, read_metrics


def test_a_finished_run_has_its_settings_metrics_summary_and_checkpoint(system: System, finished: Path) -> None:
    assert load_checkpoint(finished / system.last)["step"] == 6
    assert [row[STEP] for row in read_metrics(finished / "metrics.csv")][-1] == 6
    for name in ("settings.yaml", "summary.json"):
        assert (finished / name).is_file(), name
    assert not [path.name for path in finished.rglob(".*.tmp")]
