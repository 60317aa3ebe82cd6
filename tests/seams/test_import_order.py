"""The house keeps its order: a room imports only rooms before it, and no two files import each other.

Imports inside of functions and for types alone count too: a reader follows them all the same.
"""

import ast
from pathlib import Path

import lang_jepa

ROOT = Path(lang_jepa.__file__).parent
ORDER = (
    "errors", "files", "settings", "stories", "data", "models", "objectives", "evaluation", "inference", "training",
    "export", "report", "comparison", "serving", "cli", "python",
)  # fmt: skip
"""Rooms from left to right; docs/architecture.md draws them."""


def _modules() -> dict[str, Path]:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in names.items() if name != "__init__"}


def _imports() -> dict[str, set[str]]:
    """Of each module, the modules of the package that it names in an import."""
    modules = _modules()
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lang_jepa."):
                base = str(node.module).removeprefix("lang_jepa.")
                named = {f"{base}.{alias.name}" for alias in node.names} & modules.keys()
                found[name] |= (named or {base}) - {name}
            elif isinstance(node, ast.ImportFrom) and node.module == "lang_jepa":
                found[name] |= {alias.name for alias in node.names} & modules.keys()
    return found


def _room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_has_its_place() -> None:
    assert {_room(name) for name in _modules()} == set(ORDER)
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "errors.py"}


def test_no_arrow_runs_up() -> None:
    up = [
        f"{name} imports {other}"
        for name, others in _imports().items()
        for other in others
        if ORDER.index(_room(other)) > ORDER.index(_room(name))
    ]
    assert not up


def test_no_two_parts_import_each_other() -> None:
    """Neither files, however many lie between, nor folders within a room."""
    imports = _imports()
    left = {name: set(others) for name, others in imports.items()}
    while ends := {name for name, others in left.items() if not others}:
        left = {name: others - ends for name, others in left.items() if name not in ends}
    assert not left, f"these import each other, or what does: {sorted(left)}"
    folder = {name: str(path.parent.relative_to(ROOT)) for name, path in _modules().items()}
    arrows = {(folder[name], folder[other]) for name, others in imports.items() for other in others}
    assert not [(one, two) for one, two in arrows if one < two and (two, one) in arrows]
