"""The corpus of a finished model: the one that the user names, or the very one it was trained on, if it is still there.

The settings of a model that someone else made name folders of another machine. Of those nothing is read here but a
finished corpus that is the model's own by its name, which ends in the hash of what it was made of; and nothing is
prepared or written there.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.data.corpus.corpus import MANIFEST, Corpus
from lang_jepa.errors import LangJepaError

if TYPE_CHECKING:
    from lang_jepa.inference.embedding import EmbeddingModel


def own_folder(corpus_dir: str, name: Any) -> Path | None:
    """The folder of a finished corpus, None if it is not there.

    Args:
        corpus_dir: of the model's settings.
        name: of the corpus in the model's card.
    """
    if not isinstance(name, str) or not name or Path(name).name != name:
        return None
    folder = Path(corpus_dir) / name
    return folder if (folder / MANIFEST).is_file() else None


def own_corpus(model: "EmbeddingModel", told: Path | None = None) -> Corpus | None:
    """The corpus of a model, None if it is not here (see `missing`).

    Args:
        model: as it was loaded.
        told: a prepared corpus that the user names (None: the one of its training).

    Raises:
        LangJepaError: `told` is no corpus, or one in other tokens than the model's; or the model's own is damaged.
    """
    data = model.settings.data
    folder = told or (None if data.streaming else own_folder(data.corpus_dir, model.card.get("corpus")))
    if folder is None:
        return None
    corpus = Corpus.open(folder)
    if corpus.tokenizer.fingerprint() != model.tokenizer.fingerprint():
        raise LangJepaError(
            f"the corpus {folder} has other tokens than the model: prepare one with the model's tokenizer "
            f"({_prepare(model)}), and name it with --corpus"
        )
    return corpus


def missing(model: "EmbeddingModel", cure: str = "") -> str:
    """That the corpus of a model is not here, and how to get it.

    Args:
        model: as it was loaded.
        cure: what to do (empty: name another corpus with --corpus).
    """
    data, name = model.settings.data, model.card.get("corpus")
    if data.streaming:
        stream = "" if cure else " -o data.streaming=false"
        why = "this model was trained on a stream, which leaves no corpus"
    else:
        where = Path(data.corpus_dir) / name if isinstance(name, str) else data.corpus_dir
        stream, why = (
            "",
            f"the corpus of this model's training is not here ({where}), and none is made in its place",
        )
    cure = (
        cure or f"if you have it elsewhere, give --corpus FOLDER; to make it again: {_prepare(model)}{stream}"
    )
    return f"{why}: {cure}"


def _prepare(model: "EmbeddingModel") -> str:
    """The command that prepares documents with the model's tokenizer."""
    folder = model.folder or Path("MODEL")
    return (
        f"lang-jepa prepare {folder / 'settings.yaml'} -o data.train_file=DOCUMENTS -o data.corpus_dir=corpora "
        f"-o data.tokenizer_path={folder}"
    )
