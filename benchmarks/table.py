"""Measure all ratios and tabulate them with their records and goals. Fails if one is worse than its record by a tenth.

    python benchmarks/table.py                              # 20 minutes of one core, with nothing beside
    python benchmarks/table.py --nanogpt FOLDER             # a checkout of karpathy/nanoGPT, for the rows beside it
    python benchmarks/table.py --only search.py sigreg.py

Writes docs/performance.md and benchmarks/record.json. Each kind of processor has its own records, since ratios differ
between them; a new kind has none to compare with yet. If a metric is more than a tenth worse than its record, the exit
code is 1 and nothing is written. Otherwise the better of both is recorded; --accept records the new ones.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics import read_metrics

HERE = Path(__file__).parent
RECORD, PAGE = HERE / "record.json", HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- table: begin (python benchmarks/table.py) -->", "<!-- table: end -->"
SLACK = 0.1


@dataclass(frozen=True, slots=True)
class Metric:
    """A ratio that a script prints.

    Attributes:
        name: as printed.
        goal: the value to reach (None: no goal).
        lower: whether lower is better.
    """

    name: str
    goal: float | None = None
    lower: bool = False

    def reached(self, value: float) -> bool:
        """Whether there is a goal and the value reaches it."""
        return self.goal is not None and (value <= self.goal if self.lower else value >= self.goal)

    def fell(self, value: float, recorded: float) -> bool:
        """Whether a value is more than a tenth worse than the record."""
        return value > recorded * (1 + SLACK) if self.lower else value < recorded * (1 - SLACK)


@dataclass(frozen=True, slots=True)
class Script:
    """A benchmark and what it prints.

    Attributes:
        command: file and arguments.
        metrics: expected in its output.
        peer: option of this script for the folder without which the benchmark is not run.
    """

    command: tuple[str, ...]
    metrics: tuple[Metric, ...]
    peer: str | None = None


SCRIPTS = (
    Script(
        ("speed.py", "--minutes", "4", "--rounds", "3"),
        (
            Metric("window: targets a CPU second against a padded fp32 step", 7.0),
            Metric("causal: targets a CPU second against the same", 40.0),
            Metric("window: peak memory against the same", 0.6, lower=True),
            Metric("causal: peak memory against the same", 0.7, lower=True),
        ),
    ),
    Script(
        ("precision.py",),
        (
            Metric("step of `documents`: speed in bf16 against fp32", 2.2),
            Metric("step of `concepts`: speed in bf16 against fp32", 1.9),
        ),
    ),
    Script(
        ("encode.py",),
        (
            Metric("encoding, bf16: speed against sentence-transformers in fp32", 2.5),
            Metric("encoding, fp32: speed against sentence-transformers in fp32"),
        ),
    ),
    Script(
        ("search.py", "100000"), (Metric("exact search, one query among 100,000: queries against faiss Flat", 1.0),)
    ),
    Script(("sigreg.py",), (Metric("SIGReg, forward and backward: speed against cos and sin at each knot"),)),
    Script(("gpt.py",), (Metric("GPT: step with the span loss against one without", 1.05, lower=True),)),
    Script(("gpt.py",), (Metric("GPT, fp32: tokens a CPU second against nanoGPT's model", 1.1),), peer="nanogpt"),
    Script(
        ("gpt.py", "--bf16"), (Metric("GPT, bf16: tokens a CPU second against nanoGPT's model", 1.1),), peer="nanogpt"
    ),
    Script(("sentences.py",), (Metric("splitting sentences: speed of our rules against sentencex"),)),
    Script(
        ("prepare.py", "--tasks", "2", "--workers", "1", "2", "--limit", "60000", "--tokenizer", "minilm"),
        (Metric("preparation in tasks: two workers against one", 1.85),),
    ),
    Script(
        ("start.py",), (Metric("start of `infer`: CPU seconds against sentence-transformers on one text", lower=True),)
    ),
)


def processor() -> str:
    """Return the kind of processor, as named by the system, and its bf16 instructions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    facts = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    name = facts.get("model name", os.uname().machine)
    flags = facts.get("flags", "").split()
    return f"{name}, {'AMX' if 'amx_bf16' in flags else 'AVX512-BF16' if 'avx512_bf16' in flags else 'no bf16'}"


def run(script: Script, peers: Mapping[str, Any]) -> dict[str, float]:
    """Run a script, pass its output through, and return its metrics.

    Raises:
        SystemExit: it failed, or printed other metrics than the table knows.
    """
    command = [sys.executable, str(HERE / script.command[0]), *script.command[1:]]
    if script.peer:
        command += [f"--{script.peer}", str(peers[script.peer])]
    print("$", " ".join(script.command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(f"{script.command[0]} failed: nothing is written")
    found = read_metrics(done.stdout)
    if known := {one.name for one in script.metrics} ^ found.keys():
        sys.exit(f"{script.command[0]} prints other metrics than benchmarks/table.py knows: {', '.join(sorted(known))}")
    return found


def rows(found: Mapping[str, float], before: Mapping[str, float]) -> Iterable[str]:
    """Yield the table, with a row for each metric; those not measured keep their records."""
    yield "| metric | now | best recorded | to reach |"
    yield "|---|---|---|---|"
    for script in SCRIPTS:
        for one in script.metrics:
            now, then = found.get(one.name), before.get(one.name)
            state = "-" if now is None else f"**{now:.2f}**" if one.reached(now) else f"{now:.2f}"
            goal = "-" if one.goal is None else f"{'at most' if one.lower else 'at least'} {one.goal:g}"
            yield f"| {one.name} | {state} | {'-' if then is None else f'{then:.2f}'} | {goal} |"


def main() -> int:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted({one.command[0] for one in SCRIPTS}), metavar="SCRIPT")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--accept", action="store_true", help="record the metrics although one is worse")
    options = parser.parse_args()
    chosen = [one for one in SCRIPTS if not options.only or one.command[0] in options.only]
    runnable = [one for one in chosen if one.peer is None or getattr(options, one.peer)]
    found: dict[str, float] = {}
    for script in runnable:
        found |= run(script, vars(options))
    records = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    before = records.get(processor(), {}).get("figures", {})
    table = "\n".join(rows(found, before))
    print(table)
    fallen = [
        f"{one.name}: {found[one.name]:.2f}, recorded {before[one.name]:.2f}"
        for script in runnable
        for one in script.metrics
        if one.name in before and one.fell(found[one.name], before[one.name])
    ]
    for script in chosen:
        if script not in runnable:
            print(f"not run: {' '.join(script.command)} needs --{script.peer} FOLDER")
    if fallen and not options.accept:
        print("worse by more than a tenth:", *fallen, sep="\n  ")
        return 1
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE)
    when = {"date": datetime.date.today().isoformat(), "commit": commit.stdout.strip() or "unknown"}
    best = found if options.accept else {name: better(name, value, before.get(name)) for name, value in found.items()}
    records[processor()] = {**when, "figures": {**before, **best}}
    RECORD.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
    about = f"{when['date']}, {processor()}, one thread, at {when['commit']}. Bold: the goal is reached."
    write(f"{about}\n\n{table}")
    return 0


def better(name: str, value: float, recorded: float | None) -> float:
    """Return the better of a value and its record, so that small losses do not add up unnoticed."""
    lower = next(one.lower for script in SCRIPTS for one in script.metrics if one.name == name)
    return value if recorded is None else min(value, recorded) if lower else max(value, recorded)


def write(table: str) -> None:
    """Put the table between its markers in docs/performance.md."""
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    sys.exit(main())
