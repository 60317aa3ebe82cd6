"""A training step of a recipe in fp32 and in bf16 autocast, in turn in one process on the same, always new batches.

    python benchmarks/precision.py                                       # `concepts` and `documents`, built-in stories
    python benchmarks/precision.py documents --data ../shared/data/openstax.parquet

A step includes everything, with the recipe's own sizes, batches, objective and optimizer. Times are processor seconds
of one thread; the ratio is the median over the rounds of the ratios of consecutive turns. No batch is used twice: in
bf16 oneDNN compiles for each new shape, a cost that training has as well.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from itertools import islice
from typing import Any

from metrics import metric


class Steps:
    """A recipe's model in training.

    Attributes:
        seconds: processor seconds per step, one value for each round.
    """

    def __init__(self, settings: Any, corpus: Any, steps: int, *, half: bool) -> None:
        import torch

        from lang_jepa.data.views import make_view
        from lang_jepa.objectives.objective import Objective
        from lang_jepa.training.optim import adamw
        from lang_jepa.training.start import start_model, start_target

        self.view = make_view(settings, corpus.train, corpus.tokenizer)
        groups = self.view.order(settings.data, world=1).groups(0)
        self.examples = (group[0] for _, group in groups)
        torch.manual_seed(0)
        self.jepa = start_model(settings, corpus.tokenizer, self.view)
        self.target = start_target(settings, self.jepa, corpus.tokenizer)
        self.objective = Objective(settings)
        self.optimizer = adamw(self.jepa, self.jepa.encoder, settings.optimization)
        self.steps, self.half, self.seconds = steps, half, list[float]()

    def step(self, examples: Any) -> None:
        """One optimizer step and one EMA update."""
        import torch

        batch = self.view.batch(examples)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            output, targets = self.target.both_sides(self.jepa, batch)
        self.objective(output, targets, count=batch.predictions, step=1).total.backward()
        torch.nn.utils.clip_grad_norm_(self.jepa.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.target.update(self.jepa.encoder, 0.99)

    def round(self) -> None:
        """Train on the next batches."""
        batches = list(islice(self.examples, self.steps))
        began = time.process_time()
        for examples in batches:
            self.step(examples)
        self.seconds.append((time.process_time() - began) / len(batches))


def prepared(recipe: str, data: str, corpora: str, overrides: list[str]) -> tuple[Any, Any]:
    """Return the settings of a recipe and its corpus."""
    from lang_jepa.data.corpus.prepare import prepare
    from lang_jepa.settings.load import load_settings

    given = (f"data.train_file={data}", "data.limit=8000", f"data.corpus_dir={corpora}", *overrides)
    settings = load_settings(recipe, given)
    return settings, prepare(settings.data)


def main() -> None:
    """Measure both precisions in turn and print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["concepts", "documents"])
    parser.add_argument("--data", default="stories")
    parser.add_argument("-o", "--override", action="append", default=[], help="a setting, as of lang-jepa train")
    parser.add_argument("--steps", type=int, default=5, help="in a round")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as corpora:
        for recipe in arguments.recipes:
            settings, corpus = prepared(recipe, arguments.data, corpora, arguments.override)
            both = [Steps(settings, corpus, arguments.steps, half=half) for half in (False, True)]
            for _ in range(arguments.rounds + 1):  # the first round is warm-up
                for one in both:
                    one.round()
            full, half = (statistics.median(one.seconds[1:]) for one in both)
            ratio = statistics.median(a / b for a, b in zip(both[0].seconds[1:], both[1].seconds[1:], strict=True))
            line = f"{recipe:12} fp32 {full:.3f}, bf16 {half:.3f} CPU-seconds a step: {ratio:.2f} times\n"
            sys.stdout.write(line)
            sys.stdout.flush()
            if recipe in ("concepts", "documents") and not arguments.override:
                metric(f"step of `{recipe}`: speed in bf16 against fp32", ratio)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    main()
