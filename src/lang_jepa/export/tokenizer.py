"""The tokenizer as other tools need it: the same ids as `ConceptModel.encode`, without our code."""

from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from lang_jepa.concepts.model import ConceptModel


def portable_tokenizer(model: ConceptModel) -> PreTrainedTokenizerFast:
    """A transformers tokenizer that does by itself what `encode` does around the model's own.

    The lead that `encode` puts before every text becomes a normalizer, and model.max_length its length. It hands out
    ids and mask only: GPT-2 would take token types for words. A tokenizer without a padding token pads with its last
    special one; what stands there is masked.
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
        # transformers resets the pre-tokenizer's prefix space to this when it loads.
        add_prefix_space=bool(getattr(backend.pre_tokenizer, "add_prefix_space", False)),
        **specials,
    )
