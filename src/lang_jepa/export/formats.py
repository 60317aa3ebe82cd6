"""Write a model as sentence-transformers modules or as one ONNX graph, and check that its vectors are the same."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lang_jepa.errors import LangJepaError, optional
from lang_jepa.evaluation.metrics.similarity import linear_map, prepare
from lang_jepa.inference.encoding import Vectors
from lang_jepa.inference.model import ConceptModel
from lang_jepa.models.architecture import encoder_of, is_part, model_class, quiet_transformers, read_config
from lang_jepa.models.backbone import save_backbone


def portable_tokenizer(model: ConceptModel) -> PreTrainedTokenizerFast:
    """A transformers tokenizer that includes what `encode` does around the model's own tokenizer.

    The lead that `encode` puts before every text becomes a normalizer, and model.max_length the maximum length. It
    returns only ids and mask, because GPT-2 would take token types for words. Without a padding token it pads with the
    end, separator or unknown token, or else with id 0; padding is masked.
    """
    ours = model.tokenizer
    backend = Tokenizer.from_str(ours.backend.to_str())
    if ours.lead:
        steps = [normalizers.Prepend(ours.lead), *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = normalizers.Sequence(steps)
    specials = {f"{role}_token": token for role, token in ours.specials.items()}
    if ours.pad_id is None:
        specials["pad_token"] = next(
            (ours.specials[role] for role in ("eos", "sep", "unk") if role in ours.specials),
            str(backend.id_to_token(0)),
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        model_max_length=model.settings.model.max_length,
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,
        padding_side="right",
        truncation_side="right",
        # transformers resets the pre-tokenizer's prefix space to this on loading.
        add_prefix_space=bool(getattr(backend.pre_tokenizer, "add_prefix_space", False)),
        **specials,
    )


PROBES = (
    "The cat sat on the mat.",
    "No.",
    "42 ships came, and then it rained for a week; nobody knew why!",
    "  An indented line, with  two spaces.",
    "Ein Käse für Zoë – 日本語 🙂",
    "In HTML <s> strikes; <mask>, [MASK] and [SEP] are words.",
    "user: At 12:04:31 the host 10.0.0.7 wrote /var/log/syslog.",
    "It went on and on. " * 200,
)
"""Texts to check an export with: short, long, truncated, indented, in other scripts, with markup and with numbers."""
TOLERANCE = {"sentence-transformers": 1e-5, "onnx": 1e-4}
"""Largest difference of an entry in a unit vector."""
ONNX_FILE = "model.onnx"
OUTPUT = "sentence_embedding"


def write_sentence_transformers(model: ConceptModel, folder: Path) -> Callable[[Sequence[str]], Vectors]:
    """Write a model into a folder as Transformer, mean Pooling, Dense (the head, if there is one) and Normalize, plus
    another Dense and Normalize for the `comparison`, if there is one.

    Returns:
        A function that loads the folder again and encodes texts to float32 [n, D].

    Raises:
        LangJepaError: sentence-transformers is not installed, or cannot run the encoder alone.
    """
    need = "this export needs sentence-transformers 6"
    modules = optional("sentence_transformers.sentence_transformer.modules", "export", need)
    sentence_transformer = optional("sentence_transformers", "export", need).SentenceTransformer
    encoder = model.jepa.encoder
    if is_part(encoder.backbone.config):
        raise LangJepaError(
            f"sentence-transformers runs a {encoder.backbone.config.model_type} with its decoder, so its encoder alone "
            "cannot be exported for it; --to onnx can"
        )
    with TemporaryDirectory() as plain, _quiet("sentence_transformers"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # transformers draws weights for an unused pooler; make them the same in each export
        _save_parts(model, Path(plain))
        parts: list[nn.Module] = [
            modules.Transformer(plain, max_seq_length=model.settings.model.max_length),
            modules.Pooling(encoder.dim, "mean"),
        ]
        if encoder.head is not None:
            dense = modules.Dense(encoder.dim, model.dim, activation_function=nn.Identity())
            dense.linear.load_state_dict(encoder.head.state_dict())
            parts.append(dense)
        parts.append(modules.Normalize())
        if (mapped := comparison(model)) is not None:
            dense = modules.Dense(model.dim, model.dim, activation_function=nn.Identity())
            dense.linear.load_state_dict(mapped.state_dict())
            parts += [dense, modules.Normalize()]
        whole = sentence_transformer(modules=parts, device="cpu")
        whole.save(str(folder), create_model_card=False)

    def encode(texts: Sequence[str]) -> Vectors:
        with _quiet("sentence_transformers"):
            loaded = sentence_transformer(str(folder), device="cpu", trust_remote_code=False)
            found: Vectors = loaded.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        return found

    return encode


def comparison(model: ConceptModel) -> nn.Linear | None:
    """The linear map of unit vectors after which cosines equal the model's similarity (None: they already do).

    From `prepare`: (x - mean) @ matrix is a map with the weight matrix.T and the bias -mean @ matrix.
    """
    found = linear_map(model.statistics, model.similarity_kind)
    if found is None or not model.statistics.count:  # without estimates every kind is the cosine
        return None
    mean = found[0].astype(np.float64)
    matrix = np.eye(len(mean)) if found[1] is None else found[1].astype(np.float64)
    linear = nn.Linear(len(mean), matrix.shape[1])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(matrix.T.copy()))
        linear.bias.copy_(torch.from_numpy(-mean @ matrix))
    return linear


class _Embedding(nn.Module):
    """The exported graph, from padded ids and their mask to unit vectors."""

    def __init__(self, backbone: PreTrainedModel, head: nn.Linear | None, mapped: nn.Linear | None) -> None:
        super().__init__()
        self.backbone, self.head, self.mapped = backbone, head, mapped

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map int64 [B, L] and int64 [B, L] (1 for tokens, 0 for padding) to float32 [B, D]."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1)
        unit = functional.normalize(mean if self.head is None else self.head(mean), dim=-1)
        return unit if self.mapped is None else functional.normalize(self.mapped(unit), dim=-1)


def write_onnx(model: ConceptModel, folder: Path) -> Callable[[Sequence[str]], Vectors]:
    """Write encoder, pooling, head, normalisation and `comparison` as `model.onnx`, and the tokenizer beside it.

    Inputs are `input_ids` and `attention_mask`, int64 [batch, length]; the output is `sentence_embedding`, float32
    [batch, D]. Batch and length are dynamic.

    Returns:
        A function that encodes texts with onnxruntime to float32 [n, D].

    Raises:
        LangJepaError: onnx or onnxruntime is not installed.
    """
    need = "this export needs onnx with onnxruntime"
    optional("onnx", "onnx", need)  # torch's exporter needs it
    onnxruntime = optional("onnxruntime", "onnx", need)
    with TemporaryDirectory() as plain:
        _save_parts(model, Path(plain))
        config = read_config(plain)
        cls = model_class(config)
        options: dict[str, Any] = {"attn_implementation": "eager"}
        with quiet_transformers():
            whole = cls.from_pretrained(plain, config=config, trust_remote_code=False, **options)
        backbone = encoder_of(whole)
        (folder / "config.json").write_bytes((Path(plain) / "config.json").read_bytes())
    tokenizer = portable_tokenizer(model)
    tokenizer.save_pretrained(str(folder))
    graph = _Embedding(backbone, model.jepa.encoder.head, comparison(model)).cpu().eval()
    _export_graph(graph, tokenizer, folder / ONNX_FILE)

    def encode(texts: Sequence[str]) -> Vectors:
        session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="np")
        feed = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        found: Vectors = session.run([OUTPUT], feed)[0]
        return found

    return encode


def check_parity(model: ConceptModel, encode: Callable[[Sequence[str]], Vectors], tolerance: float, what: str) -> float:
    """The largest difference on PROBES between an export's vectors and those that the model compares.

    The export gets the probes as the model's tokenizer does, masked and without speakers, as its card says. The map of
    a similarity amplifies rounding errors, so ten times the tolerance is allowed after one.

    Raises:
        LangJepaError: the difference exceeds the tolerance.
    """
    expected, tolerance = model.encode(PROBES), tolerance if comparison(model) is None else 10 * tolerance
    if comparison(model) is not None:
        expected = prepare(expected, model.statistics, model.similarity_kind)
    difference = float(np.abs(encode(model.as_read(PROBES)) - expected).max())
    if not difference <= tolerance:
        raise LangJepaError(
            f"the {what} export differs from the model by {difference:.2g} (allowed {tolerance:.0e}); it was not kept. "
            "Please report the encoder's architecture and the versions of torch and transformers."
        )
    return difference


def _save_parts(model: ConceptModel, folder: Path) -> None:
    """Save the encoder and the portable tokenizer in a form that transformers can load."""
    save_backbone(model.jepa.encoder.backbone, folder)
    portable_tokenizer(model).save_pretrained(str(folder))


def _export_graph(graph: nn.Module, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    example = tokenizer(["The cat sat on the mat.", "No."], padding=True, return_tensors="pt")
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.inference_mode(), _quiet("torch.onnx", "onnxscript"), warnings.catch_warnings():
        # torch's exporter copies a class of its own that warns when it is copied.
        warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)
        torch.onnx.export(
            graph,
            (example["input_ids"], example["attention_mask"]),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=[OUTPUT],
            dynamic_shapes={"input_ids": free, "attention_mask": free},
            external_data=False,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence reports of libraries that do not matter here, such as on the weights of an unused pooler."""
    before = {name: logging.getLogger(name).level for name in names}
    with quiet_transformers():
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
