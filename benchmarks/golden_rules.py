"""Sentence splitters on pySBD's golden rules, by language.

    git clone https://github.com/nipunsadvilkar/pySBD
    python benchmarks/golden_rules.py pySBD

Reads the lists GOLDEN_*_RULES_TEST_CASES of tests/lang/test_*.py (with --all every list of cases there), without
running any of that code. A case counts as correct if the sentences, stripped and without empty ones, are exactly the
expected ones; pySBD's expected failures are included. Compares our rules with sentencex without the wrapper and, if
installed, pySBD with `clean=False`. Languages for which we have no rules are skipped.
"""

import argparse
import ast
from collections.abc import Callable, Iterator
from pathlib import Path

from sentencex import segment

from lang_jepa.data.text.sentences import LANGUAGES, RuleSplitter

Case = tuple[str, list[str]]
Split = Callable[[str], list[str]]

MAX_CHARS = 1000


def lists_of_cases(path: Path, every: bool) -> Iterator[tuple[str, list[Case]]]:
    """Return (language code, cases) for each list in a test file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        name = node.targets[0].id
        golden = name.startswith("GOLDEN_") and name.endswith("_RULES_TEST_CASES")
        if isinstance(node.value, ast.List) and (golden or (every and name.endswith("CASES"))):
            language = name.removeprefix("GOLDEN_").split("_")[0].lower()
            yield language, [_case(element) for element in node.value.elts]


def _case(node: ast.expr) -> Case:
    """Parse a tuple of a text and its sentences, or the same as arguments of pytest.param."""
    parts = node.args if isinstance(node, ast.Call) else node.elts  # type: ignore[attr-defined]
    text, sentences = (ast.literal_eval(part) for part in parts[:2])
    return text, [sentence.strip() for sentence in sentences]


def splitters(language: str) -> dict[str, Split]:
    """Return functions that split a text into sentences."""
    ours = RuleSplitter(MAX_CHARS, language)
    found: dict[str, Split] = {
        "ours": lambda text: [text[start:end] for start, end in ours.spans(text)],
        "sentencex": lambda text: segment(language, text),
    }
    try:
        from pysbd import Segmenter

        segmenter = Segmenter(language=language, clean=False)
    except (ImportError, ValueError):  # not installed, or the language is not supported
        return found
    return found | {"pysbd": segmenter.segment}


def right(split: Split, cases: list[Case]) -> int:
    """Return the number of cases that are split as expected."""
    return sum([part.strip() for part in split(text) if part.strip()] == sentences for text, sentences in cases)


def main() -> None:
    """Print a row for each language, and one for all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of a checkout of pySBD")
    parser.add_argument("--all", action="store_true", help="every list of cases, not the golden ones alone")
    arguments = parser.parse_args()
    cases: dict[str, list[Case]] = {}
    for path in sorted((arguments.checkout / "tests" / "lang").glob("test_*.py")):
        for language, found in lists_of_cases(path, arguments.all):
            if language in LANGUAGES:
                cases.setdefault(language, []).extend(found)
    if not cases:
        parser.error(f"{arguments.checkout} holds no golden rules: give the folder of a checkout of pySBD")
    total: dict[str, int] = {}
    print(f"{'language':<9} {'cases':>5} {'ours':>12} {'sentencex':>12} {'pysbd':>12}")
    for language, found in sorted(cases.items()):
        scores = {name: right(split, found) for name, split in splitters(language).items()}
        for name, score in scores.items():
            total[name] = total.get(name, 0) + score
        print(_row(language, len(found), scores))
    print(_row("all", sum(map(len, cases.values())), total))


def _row(language: str, count: int, scores: dict[str, int]) -> str:
    cells = "".join(
        f" {scores[name]:>6} {scores[name] / count:.2f} " if name in scores else f"{'-':>13}"
        for name in ("ours", "sentencex", "pysbd")
    )
    return f"{language:<9} {count:>5}{cells}"


if __name__ == "__main__":
    main()
