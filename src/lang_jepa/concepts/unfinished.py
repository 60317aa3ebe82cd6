"""What to say of a folder without a model that is a run which was interrupted."""

import shlex
from pathlib import Path

from lang_jepa.settings import is_gpt_recipe
from lang_jepa.training.run_lock import at_work

_CHECKPOINTS = ("checkpoint-best.pth", "checkpoint-last.pth")


def unfinished(path: Path) -> str:
    """That the run at `path` has no model yet, its best checkpoint, and the commands that help; else nothing."""
    settings = path / "settings.yaml"
    if not settings.is_file() or (path / "model").is_dir():
        return ""
    if who := at_work(path):
        return f"{who} is training in {path}, which has no model before the end of the run"
    again = f"lang-jepa train {shlex.quote(str(path))} --resume"
    found = next((path / name for name in _CHECKPOINTS if (path / name).is_file()), None)
    if found is None:
        if not (path / "metrics.csv").is_file() or list(path.glob("*_decoder.pt")):
            return ""
        return f"{path} is a run that was ended before its first checkpoint. Start it again: {again}"
    text = f"{path} is a run that was interrupted, so it has no model yet. Go on with it: {again}"
    which = "best" if found.name == _CHECKPOINTS[0] else "last"
    if is_gpt_recipe(str(settings)):
        return f"{text} (it goes on from checkpoint-last.pth; its {which} checkpoint is {found})"
    return f"{text}\nOr give its {which} checkpoint so far in its place: {found}"
