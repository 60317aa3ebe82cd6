"""mteb runs on an exported model, with a task of our own that needs no download."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.export.export import export_run
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from tiny import tiny_settings

LEFT = ["The cat sat.", "A dog barked.", "It rained.", "Anna went home."]
RIGHT = ["The cat sat.", "A dog slept.", "Bob stayed at home.", "Nobody knows."]


def local_task() -> Any:
    """Four pairs of sentences as a task of similarity."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    class FourPairs(AbsTaskSTS):
        metadata = TaskMetadata(
            name="FourPairs",
            description="Four pairs, made up here.",
            dataset={"path": "local/four-pairs", "revision": "1"},
            type="STS",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )
        min_score, max_score = 0, 5

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            rows = {"sentence1": LEFT, "sentence2": RIGHT, "score": [5.0, 3.0, 2.0, 0.0]}
            self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
            self.data_loaded = True

    return FourPairs()


@pytest.mark.slow
def test_mteb_scores_an_export(tmp_path: Path) -> None:
    mteb = pytest.importorskip("mteb")
    library = pytest.importorskip("sentence_transformers")
    from scipy.stats import spearmanr

    tokenizer = train_tokenizer(LEFT + RIGHT, 320)
    settings = tiny_settings(tmp_path / "run")
    torch.manual_seed(0)
    ConceptModel(build_jepa(settings, tokenizer), tokenizer, None, settings).save(tmp_path / "run" / "model")
    export_run(tmp_path / "run", tmp_path / "out", "sentence-transformers")
    exported = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    result = mteb.evaluate(exported, tasks=[local_task()], cache=None, co2_tracker=False)
    found = result.task_results[0].scores["test"][0]["cosine_spearman"]
    model = ConceptModel.load(tmp_path / "run")
    cosines = (model.encode(LEFT) * model.encode(RIGHT)).sum(1)
    assert found == pytest.approx(spearmanr(cosines, [5, 3, 2, 0]).statistic, abs=1e-6)
