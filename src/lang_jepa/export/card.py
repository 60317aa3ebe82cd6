"""README.md of an exported model: how it was trained, its scores beside baselines, and what it is not good for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lang_jepa.evaluation.table import Row, is_headline
from lang_jepa.files.atomic import read_json
from lang_jepa.inference.model import ConceptModel

USE = {
    "sentence-transformers": """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
vectors = model.encode(["The cat sat on the mat.", "A dog barked."])
```""",
    "onnx": """```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
session = onnxruntime.InferenceSession("{name}/model.onnx")
batch = tokenizer(["The cat sat on the mat.", "A dog barked."], padding=True, truncation=True, return_tensors="np")
feed = {{name: batch[name] for name in ("input_ids", "attention_mask")}}
vectors = session.run(["sentence_embedding"], feed)[0]
```""",
}
_SETTINGS = (
    "data.train_file",
    "data.tokenizer_path",
    "data.view",
    "data.context",
    "data.batch_size",
    "model.pretrained",
    "model.architecture",
    "model.embed_dim",
    "model.max_length",
    "model.head",
    "model.predictor",
    "objective.target",
    "objective.regularizer",
    "optimization.loss_fn",
    "optimization.lr",
    "meta.seed",
)


def write_card(model: ConceptModel, run: Path, to: str, *, name: str, license: str | None) -> str:
    """The card's text.

    Args:
        model: as exported.
        run: run directory or model directory; `scores.json` and `summary.json` are read where they are there.
        to: the format.
        name: how the examples call it.
        license: of the weights, as the hub names it (None: said to be missing).
    """
    head = ["---", "pipeline_tag: sentence-similarity"]
    head += [f"license: {license}"] if license else []
    head += ["library_name: sentence-transformers"] if to == "sentence-transformers" else []
    head += ["tags:", "- sentence-similarity", "- feature-extraction", "- lang-jepa", f"- {to}", "---"]
    count = sum(parameter.numel() for parameter in model.jepa.encoder.parameters())
    said = license or "not stated; ask whoever published this before you use it"
    parts = [
        "\n".join(head),
        f"# {name}",
        f"A text encoder trained with LANG-JEPA to predict the embedding of text from other text. {count:,} "
        f"parameters; texts of up to {model.settings.model.max_length} tokens become unit vectors of {model.dim} "
        "numbers.",
        USE[to].format(name=name),
        f"**Licence of the weights:** {said}.",
        "## Training",
        "\n".join(_training(model, run)),
        "## Scores",
        "\n".join(_scores(run)),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(model, run)),
    ]
    return "\n\n".join(parts) + "\n"


def _training(model: ConceptModel, run: Path) -> Iterator[str]:
    yield "| setting | value |"
    yield "|---|---|"
    for key in _SETTINGS:
        section, field = key.split(".")
        yield f"| `{key}` | {_cell(getattr(getattr(model.settings, section), field))} |"
    yield f"| steps to these weights | {_cell(model.card.get('step'))} |"
    yield f"| weights | {_cell(model.card.get('weights'))} |"


def _scores(run: Path) -> Iterator[str]:
    """The headline rows of `scores.json`, baselines included."""
    rows = [row for row in _rows(run) if is_headline(row)]
    if not rows:
        yield "This model was not evaluated: `lang-jepa evaluate` writes the scores that would stand here."
        return
    yield "95 % intervals in brackets; everything that is not `model` is a baseline."
    yield ""
    yield "| task | split | metric | who | score |"
    yield "|---|---|---|---|---|"
    for row in rows:
        who = f"{row.name} ({row.similarity})" if row.similarity else row.name
        interval = "" if row.low is None or row.high is None else f" [{row.low:.3f}, {row.high:.3f}]"
        yield f"| {row.task} | {row.split} | {row.metric} | {_cell(who)} | {row.value:.3f}{interval} |"


def _limits(model: ConceptModel, run: Path) -> Iterator[str]:
    yield (
        f"A longer text than {model.settings.model.max_length} tokens is cut on the right; training saw single "
        "sentences and passages of them, so whole documents should be split."
    )
    if model.similarity != "raw":
        yield (
            f"The scores above compare by the similarity in brackets, this model's choice being "
            f"`{model.similarity}`. The exported vectors compare by plain cosine (`raw`), which may score "
            "lower; the other similarities and the predictor are only in the LANG-JEPA model directory."
        )
    else:
        yield "The predictor of the next sentence is not part of this export."
    yield f"It knows the language and the subjects of `{model.settings.data.train_file}`; nothing else was checked."
    for alarm in _summary(run).get("alarms", []):
        yield f"Training raised an alarm: {alarm}"
    yield "It repeats the biases of its training text; no one has examined them."


def _rows(run: Path) -> list[Row]:
    file = next(
        (place / "scores.json" for place in (run, run.parent) if (place / "scores.json").is_file()), None
    )
    return [Row(**row) for row in read_json(file, what="scores")["rows"]] if file else []


def _summary(run: Path) -> dict[str, Any]:
    file = run / "summary.json"
    found: dict[str, Any] = read_json(file, what="summary of the run") if file.is_file() else {}
    return found


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
