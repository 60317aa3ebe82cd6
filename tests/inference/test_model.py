"""A trained model in use: what it says equals what training computed, however it is asked, saved and loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_view
from lang_jepa.data.views.batch import Targets
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import sha256
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import CARD, write_card
from lang_jepa.models.target import EMATarget
from lang_jepa.settings.load import load_settings
from tiny import MODES, VIEWS, noisy_model, tiny_settings

SENTENCES = [
    "The cat sat on the mat.",
    "Anna went home.",
    "It rained all day, and then it snowed for a week.",
    "No.",
]
Make = Callable[[str], ConceptModel]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(tiny_settings(tmp_path_factory.mktemp("run")).data)


@pytest.fixture(scope="module")
def make(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A model of a mode with weights that are nowhere zero or one, so that nothing cancels by luck."""

    def build(mode: str) -> ConceptModel:
        settings = tiny_settings(tmp_path_factory.mktemp("run"), *(MODES | VIEWS)[mode])
        return noisy_model(settings, corpus)

    return build


@pytest.fixture(scope="module")
def model(make: Make) -> ConceptModel:
    return make("concepts")


@pytest.fixture
def folder(model: ConceptModel, tmp_path: Path) -> Path:
    model.save(tmp_path / "model", step=7)
    return tmp_path / "model"


@pytest.mark.parametrize("mode", MODES)
def test_saved_and_loaded_is_equal_bit_for_bit(mode: str, make: Make, tmp_path: Path) -> None:
    model = make(mode)
    model.save(tmp_path / "run" / "model", step=7)
    for place in (tmp_path / "run" / "model", tmp_path / "run", str(tmp_path / "run")):
        loaded = ConceptModel.load(place)
        assert np.array_equal(loaded.encode(SENTENCES), model.encode(SENTENCES))
        assert np.array_equal(loaded.predict_next(SENTENCES), model.predict_next(SENTENCES))
        assert loaded.settings == model.settings
    assert json.loads((tmp_path / "run" / "model" / CARD).read_text())["step"] == 7


def test_encode_equals_the_target_side_of_training(model: ConceptModel, corpus: Corpus) -> None:
    """From text, through the tokenizer, to the very vectors that training's targets are."""
    numbers = np.arange(0, corpus.validation.num_sentences, 3)
    view = make_view(model.settings, corpus.validation, corpus.tokenizer)
    target = EMATarget(model.jepa.encoder)
    expected = functional.normalize(target.embed(Targets.whole(view.sentences(numbers))), dim=-1).numpy()
    found = model.encode(corpus.validation.texts(numbers))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert np.abs(found - np.roll(expected, 1, axis=0)).max() > 0.1, "all sentences are alike: the test shows nothing"


def test_batching_and_order_do_not_show(model: ConceptModel, corpus: Corpus) -> None:
    texts = corpus.validation.texts(np.arange(40))
    together = model.encode(texts)
    order = np.random.default_rng(0).permutation(40)
    assert np.abs(model.encode([texts[i] for i in order]) - together[order]).max() < 1e-6
    assert np.abs(model.encode(texts, batch_tokens=1) - together).max() < 1e-6
    assert np.abs(np.stack([model.encode([text])[0] for text in texts]) - together).max() < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_predictions_are_those_of_training_batches(mode: str, make: Make, corpus: Corpus) -> None:
    """The prediction at every boundary, asked again with the sentences before it as text, one and many at a time."""
    model, split = make(mode), corpus.validation
    view = make_view(model.settings, split, corpus.tokenizer)
    batch = view.batch(np.arange(4))
    with torch.no_grad():
        expected = functional.normalize(model.jepa.eval()(batch.contexts).predictions, dim=-1).numpy()
    ends = batch.sentence_ids.numpy()
    places = np.concatenate([np.arange(size) for size in batch.contexts.passages.tolist()])
    counts = ends - split.document_starts[batch.document_ids.numpy()] if mode == "window" else places + 1
    counts = np.minimum(counts, model.settings.data.window_size)
    contexts = [split.texts(np.arange(end - count, end)) for end, count in zip(ends, counts, strict=True)]
    many = model.predict_next(contexts)
    one = np.stack([model.predict_next(context) for context in contexts])
    assert one.shape == many.shape == expected.shape
    assert np.abs(many - expected).max() < 2e-6
    assert np.abs(one - many).max() < 2e-6
    assert np.abs(expected - expected[0]).max() > 0.01, "all predictions are alike: the test shows nothing"


@pytest.mark.parametrize("mode", MODES)
def test_only_the_window_is_read(mode: str, make: Make) -> None:
    model = make(mode)
    window = model.settings.data.window_size
    context = [SENTENCES[i % 4] for i in range(window)]
    expected = model.predict_next(context)
    assert np.abs(model.predict_next(["Something long ago."] * 3 + context) - expected).max() < 1e-6
    other = ["Quite another thing happened.", *context[1:]]
    assert np.abs(model.predict_next(other) - expected).max() > 1e-5


def test_a_model_of_masked_sentences_is_shown_the_context_and_a_mask(make: Make, corpus: Corpus) -> None:
    """The prediction of training where only a passage's last sentence is hidden, asked again with texts."""
    model, split = make("masked"), corpus.validation
    one = model.settings.data.model_copy(update={"masked_sentences": 1})
    view = make_view(model.settings.model_copy(update={"data": one}), split, corpus.tokenizer)
    compared = 0
    for epoch in range(40):
        batch = view.batch(np.arange(1), epoch)
        last = int(batch.contexts.passages[0]) - 3  # beside the two special tokens
        if batch.sentence_ids.tolist() == [last]:
            with torch.no_grad():
                made = model.jepa.eval()(batch.contexts).predictions[0]
            expected = functional.normalize(made, dim=-1).numpy()
            assert np.abs(model.predict_next(split.texts(np.arange(last))) - expected).max() < 2e-6
            compared += 1
    assert compared
    assert np.abs(model.predict_next(SENTENCES) - model.predict_next(SENTENCES[:3])).max() > 1e-3


@pytest.mark.parametrize("view", ["spans", "same"])
def test_a_model_of_another_view_encodes_and_says_that_it_does_not_predict(view: str, make: Make) -> None:
    model = make(view)
    assert not model.predicts_next
    assert model.encode(SENTENCES).shape == (4, 32)
    with pytest.raises(LangJepaError, match=r"data\.view=\w+, so it cannot predict the next sentence"):
        model.predict_next(SENTENCES)


def test_a_list_of_one_context_keeps_its_axis(model: ConceptModel) -> None:
    assert model.predict_next(SENTENCES).shape == (model.dim,)
    assert model.predict_next([SENTENCES]).shape == (1, model.dim)
    assert model.predict_next(tuple(SENTENCES)).shape == (model.dim,)
    assert model.encode([]).shape == (0, model.dim)


@pytest.mark.parametrize("mode", MODES)
def test_longer_than_the_model_reads(mode: str, make: Make) -> None:
    """A text is cut on the right; a context loses its oldest words and never its newest sentence."""
    model = make(mode)
    long = " ".join(["the dog ran to the house and"] * 60)
    assert len(model.tokenizer.encode_sentences([long])[0]) > 4 * model.settings.model.max_length
    assert np.abs(model.encode([long + " sea", long + " cat"]) - model.encode([long])).max() < 1e-6
    first, second = (model.predict_next([long, *SENTENCES[:2], newest]) for newest in SENTENCES[2:])
    assert np.isfinite(first).all()
    assert np.abs(first - second).max() > 1e-5


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.encode({"One text."}), "expected a list of texts, not a set"),
        (lambda m: m.encode(["Good.", ""]), "text 1 has no token"),
        (lambda m: m.predict_next("One text."), "takes a list of sentences"),
        (lambda m: m.predict_next([]), "at least one sentence of context"),
        (lambda m: m.predict_next([["Good."], []]), "an empty context"),
        (lambda m: m.predict_next(["Good.", ""]), "has no token"),
        (lambda m: m.predict_next([["Good."], ["Good.", ""]]), "has no token"),
        (lambda m: m.predict_next([["Good."], "Bad."]), "mixes"),
        (lambda m: m.predict_next(["Bad.", ["Good."]]), "mixes"),
    ],
)
def test_questions_that_make_no_sense(ask: Callable[[ConceptModel], object], message: str, model: ConceptModel) -> None:
    with pytest.raises(LangJepaError, match=message):
        ask(model)


def test_not_a_model_directory(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"no model at .*nowhere"):
        ConceptModel.load(tmp_path / "nowhere")
    with pytest.raises(LangJepaError, match="no model at"):
        ConceptModel.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "head.safetensors", "predictor.safetensors", "statistics.safetensors"]
)
def test_a_file_of_another_model_is_named(name: str, folder: Path, make: Make, tmp_path: Path) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x01\x02\x03")
    with pytest.raises(LangJepaError, match=rf"{name} is damaged or was replaced"):
        ConceptModel.load(folder)
    path.unlink()
    with pytest.raises(LangJepaError, match=rf"lacks {name}"):
        ConceptModel.load(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "settings.yaml", "tokenizer_config.json"])
def test_another_tokenizer_or_config_is_not_taken_for_its_own(name: str, folder: Path) -> None:
    """A model with another model's tokenizer would answer, wrongly, to everything."""
    (folder / name).write_text((folder / name).read_text() + " ")
    with pytest.raises(LangJepaError, match=rf"{name} is damaged or was replaced"):
        ConceptModel.load(folder)


@pytest.mark.parametrize("card", ["", "[]", "{", '{"format": 1}', '{"format": 2, "sha256": {}}'])
def test_a_damaged_card(card: str, folder: Path) -> None:
    (folder / CARD).write_text(card)
    with pytest.raises(LangJepaError, match="model"):
        ConceptModel.load(folder)


def test_a_card_is_taken_as_it_was_written_and_names_only_its_own_folder(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"step": 8}))
    with pytest.raises(LangJepaError, match="do not match its own fingerprint"):
        ConceptModel.load(folder)
    (folder.parent / "secret").write_text("mine")
    for name in ("../secret", str(folder.parent / "secret")):
        write_card(folder / CARD, card, card["sha256"] | {name: sha256(folder.parent / "secret")})
        with pytest.raises(LangJepaError, match="names a file outside of its folder"):
            ConceptModel.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "predictor.safetensors"])
def test_weights_that_are_not_finite_are_not_read(name: str, folder: Path) -> None:
    """Though the card fits them."""
    tensors = load_file(folder / name)
    next(iter(tensors.values())).reshape(-1)[-1] = torch.inf
    save_file(tensors, folder / name)
    card = json.loads((folder / CARD).read_text())
    write_card(folder / CARD, card, card["sha256"] | {name: sha256(folder / name)})
    with pytest.raises(LangJepaError, match=rf"{name} is not usable: .* holds NaN or infinity"):
        ConceptModel.load(folder)


def test_transformers_loads_it_plainly(model: ConceptModel, folder: Path) -> None:
    """Padded attention and a plain tokenizer call: the mean of the last states, through the head, is the concept."""
    tokenizer, plain = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = plain(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        expected = functional.normalize(model.jepa.encoder.head(mean), dim=-1).numpy()
    assert np.abs(model.encode(SENTENCES) - expected).max() < 2e-6


def test_saving_replaces_an_older_model_whole_and_nothing_else(folder: Path, make: Make) -> None:
    (folder / "decoder.safetensors").write_text("of the older model")
    (folder / "notes.txt").write_text("mine")
    other = make("window")
    other.save(folder)
    assert not (folder / "decoder.safetensors").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert np.array_equal(ConceptModel.load(folder).encode(SENTENCES), other.encode(SENTENCES))


def test_a_folder_of_something_else_is_not_replaced(model: ConceptModel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LangJepaError, match=r"holds something else \(it has no lang_jepa\.json\)"):
        model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != "model"] == ["notes.txt"]


def test_weights_that_are_not_finite_are_not_saved(folder: Path) -> None:
    model = ConceptModel.load(folder)
    next(model.jepa.predictor.parameters()).data.reshape(-1)[0] = torch.nan
    with pytest.raises(LangJepaError, match=r"the predictor to be written .* holds NaN or infinity"):
        model.save(folder)
    ConceptModel.load(folder)  # the good one is still there


def test_a_model_moves_with_its_folder(model: ConceptModel, folder: Path, tmp_path: Path) -> None:
    """Nothing in it points to where it was made."""
    shutil.move(folder, tmp_path / "moved")
    assert np.array_equal(ConceptModel.load(tmp_path / "moved").encode(SENTENCES), model.encode(SENTENCES))
    assert load_settings(str(tmp_path / "moved" / "settings.yaml")) == model.settings
