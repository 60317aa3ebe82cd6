"""The wheel holds what the package reads at run time, and nothing else."""

import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = pytest.importorskip("hatchling.build")
    monkeypatch.chdir(ROOT)
    (name,) = [build.build_wheel(str(tmp_path))]
    with zipfile.ZipFile(tmp_path / name) as wheel:
        held = {one for one in wheel.namelist() if ".dist-info/" not in one}
        points = next(wheel.read(one).decode() for one in wheel.namelist() if one.endswith("entry_points.txt"))
    here = (path.relative_to(ROOT / "src") for path in (ROOT / "src" / "lang_jepa").rglob("*") if path.is_file())
    assert held == {path.as_posix() for path in here if "__pycache__" not in path.parts}
    kinds = {Path(one).suffix for one in held}
    assert {".py", ".yaml", ".txt", ".typed"} <= {*kinds, ".typed" if "lang_jepa/py.typed" in held else ""}
    assert "lang-jepa = lang_jepa.cli.app:main" in points
