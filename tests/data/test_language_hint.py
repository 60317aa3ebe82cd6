"""Texts in another language than the settings say are noticed, and no others."""

import json
from pathlib import Path

import pytest

from lang_jepa.data.corpus.prepare import PrepareEvent, prepare
from lang_jepa.data.corpus.statistics import language_hint
from lang_jepa.data.sources.source import open_source
from lang_jepa.settings.data import DataSettings

TEXTS = {
    "en": "The ship was in the harbour and it was raining. She took her coat and went to the captain with a letter.",
    "de": "Das Schiff lag im Hafen und der Kapitän war nicht an Bord. Sie ging mit dem Brief auf die Brücke.",
    "fr": "Le bateau est dans le port et les marins sont à terre. Elle porte une lettre pour le capitaine.",
    "es": "El barco está en el puerto y los marineros no están. Ella lleva una carta para el capitán por la tarde.",
    "ru": "Корабль стоял в порту, и капитана не было на борту. Он ушёл по делу, но это было давно.",
}


@pytest.mark.parametrize("written", TEXTS)
@pytest.mark.parametrize("said", TEXTS)
def test_hint(written: str, said: str) -> None:
    hint = language_hint(DataSettings(language=said), [TEXTS[written]])
    assert (hint is None) == (written == said)
    assert hint is None or hint.endswith(f"set data.language={written}")


def test_what_says_nothing() -> None:
    assert language_hint(DataSettings(), []) is None
    assert language_hint(DataSettings(), ["7 8 9", "Der Hund."]) is None
    assert language_hint(DataSettings(language="zh"), [TEXTS["de"]]) is None
    for name in ("stories",):
        source = open_source(DataSettings(train_file=name, limit=50))
        assert language_hint(DataSettings(), (row.text for row in source.rows() if row is not None)) is None


def test_prepare_says_it_before_the_work(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"{TEXTS['de']} Nummer {number}."}) for number in range(5)]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    events: list[PrepareEvent] = []
    settings = DataSettings(
        train_file=str(tmp_path / "texts.jsonl"),
        corpus_dir=str(tmp_path),
        tokenizer_path="trained",
        vocab_size=330,
        min_length=1,
        deduplicate="none",
        prepare_workers=1,
    )
    prepare(settings, progress=events.append)
    assert (events[0].stage, events[0].message[:28]) == ("warning", "the texts look like German, ")
