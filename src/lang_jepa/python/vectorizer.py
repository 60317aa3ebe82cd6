"""Concepts as features: a scikit-learn transformer."""

from collections.abc import Iterable, Mapping
from os import PathLike
from tempfile import TemporaryDirectory
from typing import Any, Self

from lang_jepa.errors import check_extra
from lang_jepa.inference.encoding import Vectors
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.texts import texts_of
from lang_jepa.python.train import train

check_extra("evaluate", "ConceptVectorizer")
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402


class ConceptVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transform texts into their concepts, float32 [N, D], in scikit-learn pipelines.

    Args:
        model: a model or the path of one, which `fit` uses as it is (None: `fit` trains one on its texts).
        recipe, steps, seed, settings: options of the training, see `lang_jepa.train`; used only without `model`.
        output: the run directory (None: only the model remains after training, in memory).
        verbose: print what training prints.

    Attributes:
        model_: the model, after `fit`.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> make_pipeline(ConceptVectorizer("runs/mine"), LogisticRegression())  # doctest: +SKIP
    """

    def __init__(
        self,
        model: ConceptModel | str | PathLike[str] | None = None,
        *,
        recipe: str = "documents",
        steps: int | None = None,
        seed: int | None = None,
        output: str | PathLike[str] | None = None,
        settings: Mapping[str, object] | None = None,
        verbose: bool = False,
    ) -> None:
        self.model, self.recipe, self.steps, self.seed = model, recipe, steps, seed
        self.output, self.settings, self.verbose = output, settings, verbose

    def fit(self, X: Iterable[str], y: object = None) -> Self:
        """Load the model, or train one on the texts; `y` is ignored.

        Raises:
            LangJepaError: there is no such model, X holds something other than texts, or what `lang_jepa.train` raises.
        """
        texts = texts_of(X)
        if self.model is not None:
            self.model_ = self.model if isinstance(self.model, ConceptModel) else ConceptModel.load(self.model)
        elif self.output is not None:
            self.model_ = self._train(texts, self.output, {})
        else:
            with TemporaryDirectory(prefix="lang-jepa-") as folder:
                self.model_ = self._train(texts, f"{folder}/run", {"data.corpus_dir": f"{folder}/corpora"})
            self.model_.folder = None  # it is gone
        return self

    def _train(self, texts: list[str], output: str | PathLike[str], usual: Mapping[str, object]) -> ConceptModel:
        settings = {**usual, **(self.settings or {})}
        return train(
            texts,
            self.recipe,
            steps=self.steps,
            seed=self.seed,
            output=output,
            settings=settings,
            quiet=not self.verbose,
        )

    def transform(self, X: Iterable[str]) -> Vectors:
        """Encode texts as `ConceptModel.encode` does: float32 [N, D], unit rows.

        Raises:
            NotFittedError: before `fit`.
            LangJepaError: see `ConceptModel.encode`.
        """
        check_is_fitted(self)
        model: ConceptModel = self.model_
        return model.encode(texts_of(X))

    @property
    def _n_features_out(self) -> int:
        dim: int = self.model_.dim
        return dim

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags
