"""The built-in corpus: short stories with a hidden world and known truth, generated from a seed."""

from lang_jepa.stories.generate import FORMAT, SPLITS, Story, StorySentence, entropy, generate, story
from lang_jepa.stories.pairs import ParaphrasePair, paraphrase_pairs
from lang_jepa.stories.truth import event_types, oracle_scores, parse_event, same_meaning, vocabulary

__all__ = [
    "FORMAT", "SPLITS", "ParaphrasePair", "Story", "StorySentence", "entropy", "event_types", "generate",
    "oracle_scores", "paraphrase_pairs", "parse_event", "same_meaning", "story", "vocabulary",
]  # fmt: skip
