"""What to say of a folder without a model that is a run which was interrupted."""

from pathlib import Path

from lang_jepa.settings import is_gpt_recipe

_CHECKPOINTS = ("checkpoint-best.pth", "checkpoint-last.pth")


def unfinished(path: Path) -> str:
    """That the run at `path` has no model yet, its best checkpoint, and the commands that help; else nothing."""
    settings = path / "settings.yaml"
    if not settings.is_file() or (path / "model").is_dir():
        return ""
    again = f"lang-jepa train {path} --resume"
    found = next((path / name for name in _CHECKPOINTS if (path / name).is_file()), None)
    if found is None:
        if not (path / "metrics.csv").is_file() or list(path.glob("*_decoder.pt")):
            return ""
        return f"{path} is a run that was ended before its first checkpoint. Start it again: {again}"
    text = f"{path} is a run that was interrupted, so it has no model yet. Go on with it: {again}"
    if is_gpt_recipe(str(settings)):
        return f"{text} (it goes on from checkpoint-last.pth; its best checkpoint is {found})"
    return f"{text}\nOr take its best checkpoint so far as it is: lang-jepa evaluate {found}"
