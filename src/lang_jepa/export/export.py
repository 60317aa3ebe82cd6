"""Export a run as a folder that other tools load, with a model card, checked before it is moved into place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lang_jepa.data.text.masks import patterns_of
from lang_jepa.errors import LangJepaError, check_extra, first_line
from lang_jepa.evaluation.table import Row, is_headline, read_report
from lang_jepa.export.formats import TOLERANCE, check_parity, comparison, write_onnx, write_sentence_transformers
from lang_jepa.files.atomic import atomic_folder, check_only, check_writable, read_json
from lang_jepa.inference.model import ConceptModel
from lang_jepa.models.architecture import quiet_transformers
from lang_jepa.settings.data import DataSettings

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_name(name: str) -> None:
    """Check, without network access, that `name` has the form `owner/model`.

    Raises:
        LangJepaError: it does not.
    """
    if not _NAME.fullmatch(name):
        raise LangJepaError(f"'{name}' is not a name on the hub: write owner/model")


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload a folder, creating the repository if it does not exist, and return its address.

    Args:
        folder: an export.
        name: `owner/model`.
        private: whether a newly created repository is private.

    Raises:
        LangJepaError: no network, no login, or no right to write there.
    """
    check_name(name)
    from huggingface_hub import HfApi, errors

    from lang_jepa.data.sources.hub import transport_errors

    trouble: tuple[type[BaseException], ...] = (
        errors.OfflineModeIsEnabled,
        errors.HFValidationError,
        OSError,
        *transport_errors(),
    )
    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export from LANG-JEPA")
    except trouble as error:
        raise LangJepaError(
            f"{folder} could not be uploaded to {name} ({first_line(error)}). The export itself is finished. Log in "
            "with 'hf auth login', check the name and the network; --dry-run shows what would be uploaded."
        ) from error
    return str(address)


Format = Literal["sentence-transformers", "onnx"]
FORMATS: tuple[str, ...] = get_args(Format)
_OURS = (
    "README.md", "config.json", "config_sentence_transformers.json", "model.safetensors", "model.onnx",
    "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "vocab.*", "merges.txt", "added_tokens.json", "[0-9]_*",
)  # fmt: skip
"""Files and folders of an export, for any format and tokenizer."""
_WRITERS = {"sentence-transformers": write_sentence_transformers, "onnx": write_onnx}


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export.

    Attributes:
        folder: of the export.
        difference: largest difference of an entry from the model's own vectors on the probe texts.
        beforehand: what must be done to texts before they are encoded, see `beforehand`.
        files: names relative to the folder and sizes in bytes, sorted.
    """

    folder: Path
    difference: float
    beforehand: list[str]
    files: list[tuple[str, int]]


def export_run(
    run: str | Path, folder: str | Path, to: str, *, name: str | None = None, license: str | None = None
) -> Exported:
    """Write a model in another format, atomically, with a model card.

    Args:
        run: a run directory or a model directory.
        folder: of the export; an earlier export is replaced, anything else is refused.
        to: `sentence-transformers` or `onnx`.
        name: of the model in the card's examples (None: the folder).
        license: of the weights, by its name on the hub, such as `apache-2.0` (None: the card says that it is missing).

    Raises:
        LangJepaError: unknown format, no model, a folder with other contents, a missing library, or vectors that differ
            from the model's.
    """
    run, folder = Path(run), Path(folder)
    if to not in FORMATS:
        raise LangJepaError(f"unknown format '{to}': use one of {', '.join(FORMATS)}")
    check_extra("onnx" if to == "onnx" else "export", f"export --to {to}")
    _check_free(folder)
    model = ConceptModel.load(run)
    if not model.has_predictor:
        raise LangJepaError(
            f"{run} is a pretrained encoder as other tools load it already; export writes models that were trained here"
        )
    card = write_card(model, run, to, name=name or str(folder), license=license)
    with quiet_transformers(), atomic_folder(folder) as temporary:
        encode = _WRITERS[to](model, temporary)
        difference = check_parity(model, encode, TOLERANCE[to], to)
        (temporary / "README.md").write_text(card, encoding="utf-8")
    return Exported(folder, difference, list(beforehand(model.settings.data)), list_files(folder))


def list_files(folder: Path) -> list[tuple[str, int]]:
    """Files in a folder and its subfolders: relative names and sizes in bytes, sorted by name."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in files)


def _check_free(folder: Path) -> None:
    """Raise if the folder cannot be written, or if replacing it would lose something that is not part of an export."""
    check_writable(folder, folder=True)
    check_writable(folder.parent / "export", folder=True)  # it is replaced as a whole
    known = ("modules.json", "model.onnx")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).is_file() for name in known):
        raise LangJepaError(f"{folder} is not empty and is not an export: choose another folder")
    check_only(folder, _OURS, what="an export")


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
    "data.train_file", "data.tokenizer_path", "data.view", "data.context", "data.batch_size",
    "model.pretrained", "model.architecture", "model.embed_dim", "model.max_length", "model.head",
    "model.predictor", "objective.target", "objective.regularizer", "optimization.loss_fn", "optimization.lr",
    "meta.seed",
)  # fmt: skip


def write_card(model: ConceptModel, run: Path, to: str, *, name: str, license: str | None) -> str:
    """Return the text of the model card.

    Args:
        model: the exported model.
        run: run directory or model directory; `scores.json` and `summary.json` are read if they exist.
        to: the format.
        name: of the model in the examples.
        license: of the weights, by its name on the hub (None: said to be missing).

    Raises:
        LangJepaError: one of the two files is not as this version writes it.
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
        _compared(model),
        USE[to].format(name=name),
        *(["## Before encoding", "\n\n".join(before)] if (before := list(beforehand(model.settings.data))) else []),
        f"**Licence of the weights:** {said}.",
        "## Training",
        "\n".join(_training(model)),
        "## Scores",
        "\n".join(_scores(run)),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(model, run)),
    ]
    return "\n\n".join(parts) + "\n"


def _compared(model: ConceptModel) -> str:
    """Say by which similarity the exported vectors compare, and which layer was added for it."""
    if comparison(model) is None:
        return "Vectors compare by plain cosine, the similarity that the model uses itself."
    return (
        f"Vectors compare by plain cosine, and that is the similarity `{model.similarity_kind}`, the model's own "
        "choice: its linear map is the last layer before the vectors get their length. `ConceptModel.encode` gives the "
        "vectors before that layer; do not mix the two."
    )


_MASKED = """Write what differs from line to line as one word each, as in training:

```python
import re

MASKS = {masks}


def masked(text):
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return text
```"""
_NAMES = {
    "none": "Give a turn as it was said, without the speaker's name in front.",
    "embedding": "Give a turn as it was said, without the speaker's name in front; the encoder never saw names.",
    "prefix": 'Begin each turn with its speaker, as in training: "user: Good morning".',
}


def beforehand(data: DataSettings) -> Iterator[str]:
    """Say in Markdown what must be done to texts before an exported encoder reads them; nothing for plain sentences.

    Args:
        data: the data settings with which the model was trained.
    """
    if data.units == "turns":
        yield _NAMES[data.speakers]
    if data.units == "lines":
        yield "Give a line as it is, not cut into sentences."
    if data.mask:
        masks = ",\n".join(f"    {pair!r}" for pair in patterns_of(data.mask_patterns))
        yield _MASKED.format(masks=f"[\n{masks},\n]")


def _training(model: ConceptModel) -> Iterator[str]:
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
        f"{model.settings.data.units} and passages of them, so whole documents should be split."
    )
    yield f"The predictor of the next {model.settings.data.unit} is not part of this export."
    yield f"It knows the language and the subjects of `{model.settings.data.train_file}`; nothing else was checked."
    for alarm in _summary(run).get("alarms", []):
        yield f"Training raised an alarm: {alarm}"
    for warning in model.card.get("warnings", []):
        yield f"{warning[:1].upper()}{warning[1:]}."
    yield "It repeats the biases of its training text; no one has examined them."


def _rows(run: Path) -> list[Row]:
    file = next((file for folder in (run, run.parent) if (file := folder / "scores.json").is_file()), None)
    return read_report(file).rows if file else []


def _summary(run: Path) -> dict[str, Any]:
    file = run / "summary.json"
    found: object = read_json(file, what="summary of the run") if file.is_file() else {}
    if not isinstance(found, dict) or not isinstance(found.get("alarms", []), list):
        raise LangJepaError(f"{file} is not the summary of a run as this version writes it: move it away")
    return found


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
