"""Load folders crafted to run code on loading with every loader and command: none may run any.

    python scripts/reliability/custom_code.py

Each folder's code would write a file. Standard input answers yes to every question. The exit code is 1 if any ran.
"""

import io
import json
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel
from typer.testing import CliRunner

from lang_jepa import ConceptModel
from lang_jepa.cli.app import app
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.models.architecture import quiet_transformers
from lang_jepa.models.backbone import check_encoder
from lang_jepa.settings.encoder import Settings

MARKER = "ran"
TEXTS = ["The sea was calm.", "It rained all night."] * 20


class _Pickled:
    """Writes the marker file when it is unpickled unsafely."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def base(folder: Path) -> None:
    """Write a complete tiny encoder that can be loaded."""
    tokenizer = train_tokenizer(TEXTS, 300)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    with quiet_transformers():
        BertModel(config).save_pretrained(folder)
    tokenizer.save(folder)


def changed(file: Path, **changes: Any) -> None:
    """Set entries of a JSON file; None removes an entry."""
    content = json.loads(file.read_text()) if file.is_file() else {}
    content.update(changes)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def modules(folder: Path, *kinds: tuple[str, str]) -> None:
    """Write a modules.json of types and paths, and the configuration of mean pooling if a pooling is among them."""
    found = [{"idx": i, "name": str(i), "type": kind, "path": path} for i, (kind, path) in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(found))
    for kind, path in kinds:
        if kind.endswith("Pooling"):
            changed(folder / path / "config.json", word_embedding_dimension=16, pooling_mode_mean_tokens=True)


TRANSFORMER, POOLING = "sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"
DENSE = "sentence_transformers.models.Dense"
AUTO = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": "evil.Tokenizer"}


def _nested(folder: Path) -> Path:
    """Move the model into 0_Transformer, a layout that sentence-transformers also uses."""
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in [one for one in folder.iterdir() if one.is_file() and one.suffix != ".py"]:
        shutil.move(file, inner / file.name)
    shutil.copy(folder / "evil.py", inner / "evil.py")
    modules(folder, (TRANSFORMER, "0_Transformer"), (POOLING, "1_Pooling"))
    return inner


def _pickled_weights(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    torch.save({"x": _Pickled(folder / MARKER)}, folder / name)
    (folder / name).write_bytes(pickle.dumps(_Pickled(folder / MARKER)))


def _dense(folder: Path, **config: Any) -> None:
    modules(folder, (TRANSFORMER, ""), (POOLING, "1_Pooling"), (DENSE, "2_Dense"))
    changed(folder / "2_Dense" / "config.json", in_features=16, out_features=16, bias=False, **config)


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    _pickled_weights(folder, "pytorch_model.bin")


def _adapter(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    changed(other / "config.json", model_type="evil", auto_map=AUTO)
    shutil.copy(folder / "evil.py", other)
    changed(
        folder / "adapter_config.json",
        base_model_name_or_path=str(other),
        peft_type="LORA",
        auto_mapping=AUTO,
    )


FOLDERS: dict[str, Callable[[Path], object]] = {
    "config.json of an own type": lambda f: changed(f / "config.json", model_type="evil", auto_map=AUTO),
    "config.json without a type": lambda f: changed(f / "config.json", model_type=None, auto_map=AUTO),
    "config.json of a type that is no text": lambda f: changed(f / "config.json", model_type=["bert"], auto_map=AUTO),
    "config.json of a native type with auto_map": lambda f: changed(f / "config.json", auto_map=AUTO),
    "config.json with another repository's code": lambda f: changed(
        f / "config.json", model_type="evil", auto_map={"AutoModel": f"{f}--evil.Model"}
    ),
    "config.json with a nested auto_map": lambda f: changed(
        f / "config.json", text_config={"model_type": "evil", "auto_map": AUTO}
    ),
    "config.json with an attention kernel": lambda f: changed(f / "config.json", attn_implementation=str(f)),
    "config.json with an attention kernel, internal name": lambda f: changed(
        f / "config.json", _attn_implementation="evil/kernel"
    ),
    "tokenizer_config.json": lambda f: changed(f / "tokenizer_config.json", auto_map=AUTO),
    "tokenizer_config.json with a list": lambda f: changed(
        f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}
    ),
    "tokenizer_config.json with an own class": lambda f: changed(
        f / "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=AUTO
    ),
    "modules.json with an own class": lambda f: modules(f, (TRANSFORMER, ""), ("evil.Module", "")),
    "modules.json with a transformer of its own": lambda f: modules(f, ("evil.Transformer", ""), (POOLING, "1")),
    "modules.json, nested config.json": lambda f: changed(_nested(f) / "config.json", model_type="evil", auto_map=AUTO),
    "modules.json, nested tokenizer_config.json": lambda f: changed(
        _nested(f) / "tokenizer_config.json", auto_map=AUTO
    ),
    "modules.json, a path outside": lambda f: modules(f, (TRANSFORMER, "../evil"), (POOLING, "1_Pooling")),
    "Dense with an own activation": lambda f: _dense(f, activation_function="evil.Activation"),
    "Dense with pickled weights": lambda f: (
        _dense(f, activation_function="torch.nn.modules.linear.Identity"),
        _pickled_weights(f, "2_Dense/pytorch_model.bin"),
    ),
    "pickled weights": _without_weights,
    "an adapter of a model with code": _adapter,
}
"""Changes that make a loadable folder run code, by name."""

QUICK_VERBS = (
    "index {folder} {texts} --lines --output {out}/index",
    "infer {folder} --text calm",
    "document {folder} {texts}",
    "evaluate {folder} --tasks sts --data-dir {out} --output {out}/scores.json",
    "export {folder} {out}/export",
    "train concept_decoder --encoder {folder}",
)
_RUN = "-o data.train_file={texts} -o data.corpus_dir={out}/corpora"
_SMALL = "-o model.embed_dim=16 -o model.pred_dim=16 -o model.max_length=32 -o optimization.max_steps=1"
VERBS = (
    *QUICK_VERBS,
    f"prepare documents {_RUN} -o data.tokenizer_path={{folder}}",
    f"train pretrained {_RUN} {_SMALL} -o data.tokenizer_path={{folder}} -o logging.log_dir={{out}}/run",
    f"train documents {_RUN} {_SMALL} -o objective.target=frozen -o objective.teacher_path={{folder}} "
    "-o logging.log_dir={out}/taught",
    f"train gpt_jepa {_RUN} -o data.tokenizer_path={{folder}} -o logging.log_dir={{out}}/gpt",
)
"""Every command that loads an encoder or a tokenizer."""


def _loaders(folder: Path, out: Path, verbs: Sequence[str]) -> Iterator[Callable[[], object]]:
    texts = out / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    settings = {
        "data": {"tokenizer_path": str(folder)},
        "model": {"embed_dim": 16, "pred_dim": 16, "max_length": 32},
    }
    yield lambda: ConceptModel.load(folder).encode(["calm"])
    yield lambda: TextTokenizer.load(str(folder))
    yield lambda: check_encoder(Settings.model_validate(settings))
    for verb in verbs:
        words = verb.format(folder=folder, texts=texts, out=out).split()
        yield lambda words=words: CliRunner().invoke(app, words, input="y\ny\ny\n")


@contextmanager
def _yes() -> Iterator[None]:
    """Answer yes on standard input."""
    before = sys.stdin
    sys.stdin = io.StringIO("y\n" * 100)
    try:
        yield
    finally:
        sys.stdin = before


def ran_code(work: Path, verbs: Sequence[str] = VERBS) -> list[str]:
    """Return the names of the folders whose code was run by some loader.

    Args:
        work: an empty folder.
        verbs: commands to try in addition to the Python loaders.
    """
    base(work / "base")
    found = []
    for number, (name, craft) in enumerate(FOLDERS.items()):
        folder, out = work / f"crafted{number}", work / f"out{number}"
        shutil.copytree(work / "base", folder)
        out.mkdir()
        (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(folder / MARKER)!r}).touch()\n")
        craft(folder)
        with _yes():
            for load in _loaders(folder, out, verbs):
                with suppress(Exception):  # refusing is right; the question is whether code ran
                    load()
        if (folder / MARKER).exists():
            found.append(name)
    return found


def main() -> int:
    """Print the folders that ran code, and their number."""
    with tempfile.TemporaryDirectory() as work:
        found = ran_code(Path(work))
    for name in found:
        print(f"ran code: {name}")
    print(f"{len(found)} of {len(FOLDERS)} ran code")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
