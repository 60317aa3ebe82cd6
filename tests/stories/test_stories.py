"""The built-in corpus: determinism, truth of the oracle, wordings, grammar, parser."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest

from lang_jepa import stories as corpus
from lang_jepa.errors import LangJepaError
from lang_jepa.stories import pairs as paraphrases
from lang_jepa.stories import truth, wordings, world
from lang_jepa.stories.generate import kind_of
from lang_jepa.stories.plots import KINDS, either

MANY = 2_000
FIRST_SENTENCE = "Since Leo adored pie, the potter Nora hurried to the kitchen"


@cache
def stories(split: str, count: int = MANY) -> tuple[corpus.Story, ...]:
    return tuple(corpus.generate(count, split=split))


def words(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower().replace("'s", "")))


def shannon(odds: dict[str, float]) -> float:
    return -sum(p * math.log2(p) for p in odds.values())


@pytest.mark.parametrize("split", corpus.SPLITS)
def test_a_story_is_a_function_of_its_number(split: str) -> None:
    run = list(corpus.generate(5, seed=3, split=split, start=40))
    alone = [corpus.story(index, seed=3, split=split) for index in reversed(range(40, 45))]
    assert run == alone[::-1]
    assert corpus.story(40, seed=4, split=split).text != run[0].text


def test_a_known_story_does_not_change() -> None:
    """Any change of the corpus must raise FORMAT, so that prepared data is not mixed."""
    assert (corpus.FORMAT, corpus.story(0).text.split(". ")[0]) == (1, FIRST_SENTENCE)


def test_splits_share_no_story() -> None:
    texts = {split: {story.text for story in stories(split)} for split in corpus.SPLITS}
    assert all(len(found) == MANY for found in texts.values())
    assert not texts["train"] & texts["heldout"]
    assert not texts["train"] & texts["unseen"]
    assert not texts["heldout"] & texts["unseen"]


@pytest.mark.parametrize(("index", "split"), [(-1, "train"), (0, "test")])
def test_bad_requests_are_refused(index: int, split: str) -> None:
    with pytest.raises(LangJepaError, match=r"0 or more|heldout"):
        corpus.story(index, split=split)


def test_generate_refuses_an_unknown_split_when_it_is_iterated() -> None:
    with pytest.raises(LangJepaError, match="train, heldout, unseen"):
        list(corpus.generate(0, split="valid"))


def test_every_oracle_is_a_distribution_that_allows_what_was_told() -> None:
    for story in stories("heldout"):
        assert len(story.oracle) == len(story.sentences)
        for odds, sentence in zip(story.oracle, story.sentences, strict=True):
            assert math.isclose(sum(odds.values()), 1.0)
            assert odds[sentence.event] > 0


def test_events_are_as_frequent_as_the_oracle_says() -> None:
    """Per distribution and event: counts within 4.5 standard errors of the probability."""
    counts: dict[tuple[tuple[str, float], ...], Counter[str]] = defaultdict(Counter)
    for story in stories("train"):
        for odds, sentence in zip(story.oracle, story.sentences, strict=True):
            counts[tuple(odds.items())][sentence.event] += 1
    checked = 0
    for odds, seen in counts.items():
        total = seen.total()
        for event, chance in odds:
            if total >= 100 and chance < 1:
                error = math.sqrt(chance * (1 - chance) / total)
                assert abs(seen[event] / total - chance) < 4.5 * error, (odds, seen)
                checked += 1
    assert checked > 80


def test_next_event_entropy_is_about_one_bit() -> None:
    bits = [shannon(dict(odds)) for story in stories("train") for odds in story.oracle]
    assert 0.8 <= np.mean(bits) <= 1.2
    assert corpus.entropy({"a": 0.5, "b": 0.25, "c": 0.25}) == pytest.approx(1.5)


def test_what_was_told_early_decides_what_happens_later() -> None:
    """The weather's effect is the one of the weather that was told, sentences apart."""
    for story in stories("heldout"):
        names = [sentence.event for sentence in story.sentences]
        effects = [name for name in names if name.startswith("effect.")]
        for name in effects:
            assert names.index(name.replace("effect", "weather")) < names.index(name)
    studied = Counter(
        (any(s.event == "exam.study" for s in story.sentences), s.event)
        for story in stories("train")
        for s in story.sentences
        if s.event in ("exam.pass", "exam.fail")
    )
    assert studied[True, "exam.pass"] > 4 * studied[True, "exam.fail"]
    assert studied[False, "exam.fail"] > 4 * studied[False, "exam.pass"]


def test_arguments_stay_the_same_throughout_a_story() -> None:
    for story in stories("heldout"):
        bound: dict[str, str] = {}
        for sentence in story.sentences:
            for role, entity in sentence.arguments.items():
                assert bound.setdefault(role, entity) == entity


def test_events_rarely_repeat_in_a_story() -> None:
    repeated = [len(story.sentences) - len({s.event for s in story.sentences}) for story in stories("train")]
    assert np.mean(np.array(repeated) > 0) < 0.02


def test_sizes() -> None:
    lengths = [len(story.sentences) for split in corpus.SPLITS for story in stories(split)]
    assert min(lengths) >= 8
    assert max(lengths) <= 16
    assert 80 <= len(corpus.event_types()) <= 120
    assert {s.event for story in stories("train") for s in story.sentences} == set(corpus.event_types())
    types = {word for story in stories("train") for word in words(story.text)}
    assert 800 <= len(types) <= len(corpus.vocabulary()) <= 2_000
    for event in wordings.events().values():
        assert 8 <= len(event.common) <= 12, event.name
        assert 2 <= len(event.reserved) <= 3, event.name


def test_unseen_wordings_are_new_and_made_of_known_words() -> None:
    train_templates = {s.template for story in stories("train") for s in story.sentences}
    unseen = {s.template for story in stories("unseen") for s in story.sentences}
    assert not train_templates & unseen
    known = {word for story in stories("train", 8_000) for word in words(story.text)}
    every_reserved = {
        word
        for event in wordings.events().values()
        for template in event.reserved
        for pieces in template.variants
        for literal, _ in pieces
        for word in words(literal)
    }
    assert every_reserved <= known
    assert {word for story in stories("unseen") for word in words(story.text)} <= known
    assert known <= corpus.vocabulary()


def test_few_held_out_sentences_occur_in_train() -> None:
    train = {s.text for story in stories("train") for s in story.sentences}
    for split, bound in (("heldout", 0.12), ("unseen", 0.001)):
        sentences = [s.text for story in stories(split) for s in story.sentences]
        assert np.mean([text in train for text in sentences]) < bound


@pytest.mark.parametrize("split", corpus.SPLITS)
def test_sentences_are_well_formed(split: str) -> None:
    for story in stories(split):
        for sentence in story.sentences:
            text = sentence.text
            assert re.fullmatch(r"[A-Z][A-Za-z', ]*[.!?]", text), text
            assert not re.search(r"  | [,.!?]|,,|\b(\w+) \1\b|[^s]''", text.lower()), text
            assert not re.search(r"\b(a (?!use)[aeiou]|an (?!hour)[^aeiou])", text.lower()), text
        assert re.split(r"(?<=[.!?]) ", story.text) == [s.text for s in story.sentences]


def test_pronouns_agree_with_the_people() -> None:
    """In a sentence of the person alone there is no pronoun of the other gender."""
    for story in stories("heldout"):
        person = story.sentences[0].arguments["person"]
        wrong = {"he", "him", "himself"} if person in world.WOMEN else {"she", "her", "herself"}
        for sentence in story.sentences:
            if set(sentence.arguments) == {"person"}:
                assert not words(sentence.text) & wrong, sentence.text


@pytest.mark.parametrize("split", corpus.SPLITS)
def test_the_parser_reads_events_and_named_arguments_from_the_text(split: str) -> None:
    right = total = 0
    for story in stories(split, 500):
        for sentence in story.sentences:
            read = corpus.parse_event(sentence.text)
            total += 1
            if read is not None and (read.event, read.template) == (
                sentence.event,
                sentence.template,
            ):
                right += 1
                assert read.arguments.items() <= sentence.arguments.items(), sentence.text
    assert right / total >= 0.99


def test_the_parser_names_what_a_text_shows() -> None:
    read = corpus.parse_event("Quietly, the poet Anna handed Boris a hot plate of curry.")
    assert read is not None
    assert read.event == "cook.serve"
    assert read.arguments == {"person": "Anna", "companion": "Boris", "object": "curry"}
    shown = truth.read("She handed him a hot plate of curry.")
    assert shown is not None
    assert (shown.arguments, shown.women) == ({"object": "curry"}, {"person": True, "companion": False})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The committee approved the annual budget.",
        "Anna handed Boris a hot plate of",
        "anna handed Boris a hot plate of curry.",
        "Anna handed Clara a hot plate of curry.",
        "Anna handed Boris a hot plate of bicycle.",
        "She handed Anna a hot plate of curry.",
    ],
)
def test_foreign_and_impossible_texts_are_not_parsed(text: str) -> None:
    assert corpus.parse_event(text) is None


def test_oracle_scores_are_log_odds_plus_matching_arguments() -> None:
    story = next(s for s in stories("heldout") if len(s.oracle[1]) == 2)
    first, second = (corpus.StorySentence("Unreadable.", event, {}, "") for event in story.oracle[1])
    scores = corpus.oracle_scores(story, 1, [first, second])
    assert scores.dtype == np.float64
    assert scores == pytest.approx(np.log(list(story.oracle[1].values())))
    person = story.sentences[0].arguments["person"]
    other = next(name for name in world.WOMEN + world.MEN if name != person)
    named = [corpus.StorySentence("Unreadable.", first.event, {"person": name}, "") for name in (person, other)]
    same, different = corpus.oracle_scores(story, 1, named)
    assert same - different == pytest.approx(math.log(0.98 * 24 / 0.02))
    with pytest.raises(LangJepaError, match="has sentences 0 to"):
        corpus.oracle_scores(story, 99, named)


def test_the_oracle_finds_the_next_sentence_within_its_story() -> None:
    hits = []
    for story in stories("heldout", 300):
        position = 1 + hash_free(story.id) % (len(story.sentences) - 1)
        rest = [i for i in range(len(story.sentences)) if i not in (position - 1, position)]
        candidates = [story.sentences[i] for i in (position, *rest)]
        scores = corpus.oracle_scores(story, position, candidates)
        hits.append(scores[0] > scores[1:].max())
    assert np.mean(hits) >= 0.93


def hash_free(text: str) -> int:
    return sum(map(ord, text))


def test_paraphrase_pairs_have_the_relation_their_score_says() -> None:
    pairs = corpus.paraphrase_pairs(300, seed=1)
    assert pairs == corpus.paraphrase_pairs(300, seed=1)
    assert Counter(pair.score for pair in pairs) == dict.fromkeys((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), 50)
    for pair in pairs:
        first, second = corpus.parse_event(pair.first), corpus.parse_event(pair.second)
        assert first is not None
        assert second is not None
        assert (first.event == second.event) == (pair.score >= 3)
        assert pair.first != pair.second
        entities = set(first.arguments.values()) & set(second.arguments.values())
        if pair.score >= 3:
            assert first.template != second.template
            assert first.arguments.keys() == second.arguments.keys()
            differing = {role for role, one in first.arguments.items() if one != second.arguments[role]}
            expected = {5.0: (), 4.0: paraphrases._MINOR, 3.0: paraphrases._MAJOR}[pair.score]
            assert len(differing) == (pair.score < 5)
            assert differing <= set(expected)
        else:
            assert bool(entities) == (pair.score == 2)
        if pair.score == 1:
            assert first.event.partition(".")[0] == second.event.partition(".")[0]
        assert corpus.same_meaning(pair.first, pair.second) == (pair.score == 5)


def test_pairs_are_the_same_when_every_story_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [corpus.paraphrase_pairs(150, seed, split) for seed, split in ((0, "heldout"), (7, "unseen"))]
    told = property(lambda tale: tale.story.sentences[0].event, lambda tale, kind: None)  # one opening to each kind
    monkeypatch.setattr(paraphrases._Tale, "kind", told, raising=False)
    monkeypatch.setattr(paraphrases._Tale, "draw_position", lambda tale, rng: rng.randrange(len(tale.story.sentences)))
    assert [corpus.paraphrase_pairs(150, seed, split) for seed, split in ((0, "heldout"), (7, "unseen"))] == quick


def test_lengths_of_a_kind_hold_for_its_stories() -> None:
    found = defaultdict(set)
    for index, story in enumerate(stories("heldout")):
        found[kind_of(index, 0, "heldout")].add(len(story.sentences))
    assert {kind: (min(each), max(each)) for kind, each in found.items()} == {
        kind: paraphrases._lengths(kind) for kind in KINDS
    }


def test_unknown_pair_split_is_refused() -> None:
    with pytest.raises(LangJepaError):
        corpus.paraphrase_pairs(1, split="test")


def test_choices_are_multiplied_out() -> None:
    assert wordings.expand("{A} <went|ran> <|far >away.") == [
        "{A} went away.",
        "{A} went far away.",
        "{A} ran away.",
        "{A} ran far away.",
    ]
    assert either("a", 0.25, "b") == {"a": 0.25, "b": 0.75}
    assert set(KINDS) == set(world.SETTINGS)
