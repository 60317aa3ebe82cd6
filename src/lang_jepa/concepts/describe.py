"""What a model is, in one line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lang_jepa.concepts.model import ConceptModel


def describe_model(model: "ConceptModel") -> str:
    """Name, width, encoder, objective, vocabulary and decoder of a model."""
    if not model.has_predictor:
        return f"ConceptModel({model.source or 'not saved'}: {model.card['plain']}; {model.dim} numbers, no predictor)"
    settings, backbone = model.settings, model.jepa.encoder.backbone
    objective, data = settings.objective, settings.data
    kind = getattr(backbone.config, "model_type", type(backbone).__name__)
    millions = sum(parameter.numel() for parameter in model.jepa.encoder.parameters()) / 1e6
    regularizer = "" if objective.regularizer == "none" else f" + {objective.regularizer}"
    parts = (
        model.source or settings.recipe,
        f"{model.dim} dimensions",
        f"encoder {kind} of {millions:.1f} M parameters",
        f"{data.view} by {settings.model.predictor}",
        f"objective {settings.optimization.loss_fn}{regularizer}, target {objective.target}",
        f"vocabulary {model.tokenizer.vocab_size:,}",
        "with a decoder" if model.decoder else "no decoder",
    )
    return f"{type(model).__name__}({'; '.join(parts)})"
