"""Measure the built-in stories and their baselines: `python benchmarks/stories_baselines.py`.

Prints the corpus numbers and, for the splits `heldout` and `unseen`: next sentence among 256
(the true one and 255 sentences of other stories of the split; ties count by their expected rank),
the right sentence among the same story's others (all sentences but the last context sentence), and
paraphrases among 256. TF-IDF is fitted on 20,000 train stories, ridge regression on the first 10,000
of them. About 145 CPU seconds on one core.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata, spearmanr
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from lang_jepa.stories import (
    Story,
    StorySentence,
    entropy,
    event_types,
    generate,
    oracle_scores,
    paraphrase_pairs,
    parse_event,
    same_meaning,
)

TRAIN, RIDGE_TRAIN, HELD_OUT, QUERIES, CANDIDATES, RIDGE = 20_000, 10_000, 600, 1_000, 256, 30.0
TOKEN = r"[A-Za-z]+"
Query = tuple[int, int, list[tuple[int, int]]]  # story, position, others
Scorer = Callable[[Story, int, Sequence[StorySentence]], np.ndarray[Any, Any]]


def corpus_numbers(train: list[Story], splits: dict[str, list[Story]]) -> None:
    """Print the size, the entropy and the overlap of the corpus."""
    sentences = [s for story in train for s in story.sentences]
    known = {s.text for s in sentences}
    words = {w for text in known for w in re.findall(TOKEN, text.lower())}
    lengths = [len(story.sentences) for story in train]
    bits = np.mean([entropy(odds) for story in train for odds in story.oracle])
    later = np.mean([entropy(odds) for story in train for odds in story.oracle[1:]])
    print(f"word types {len(words)}, event types {len(event_types())}")
    print(f"sentences a story {min(lengths)}-{max(lengths)}, mean {np.mean(lengths):.1f}")
    print(f"words a sentence {np.mean([len(s.text.split()) for s in sentences]):.1f}")
    print(f"next-event entropy {bits:.2f} bits, without the first sentence {later:.2f}")
    for name, stories in splits.items():
        texts = [s.text for story in stories for s in story.sentences]
        right = np.mean([getattr(parse_event(s.text), "event", "") == s.event
                         for story in stories for s in story.sentences])  # fmt: skip
        print(f"{name}: literally in train {np.mean([t in known for t in texts]):.3f}, "
              f"parsed to the right event {right:.4f}")  # fmt: skip


def queries(stories: list[Story]) -> list[Query]:
    """Draw positions (never the first sentence) and their candidates from other stories."""
    rng = Random(7)
    drawn: list[Query] = []
    while len(drawn) < QUERIES:
        i = rng.randrange(len(stories))
        position = rng.randrange(1, len(stories[i].sentences))
        others: set[tuple[int, int]] = set()
        while len(others) < CANDIDATES - 1:
            j = rng.randrange(len(stories))
            if j != i:
                others.add((j, rng.randrange(len(stories[j].sentences))))
        drawn.append((i, position, sorted(others)))
    return drawn


def rank_of_first(scores: np.ndarray[Any, Any]) -> float:
    """Rank of candidate 0, ties by their mean."""
    return float(rankdata(-np.round(scores, 9))[0])


def next_sentence(stories: list[Story], drawn: list[Query], score: Scorer) -> tuple[float, ...]:
    """recall@1, MRR and the share whose top answer has the right event."""
    ranks, right = [], []
    noise = np.random.default_rng(0)
    for i, position, others in drawn:
        true = stories[i].sentences[position]
        candidates = [true, *(stories[j].sentences[k] for j, k in others)]
        values = score(stories[i], position, candidates)
        ranks.append(rank_of_first(values))
        best = int(np.argmax(values + noise.random(len(values)) * 1e-9))
        right.append(candidates[best].event == true.event)
    rank = np.array(ranks)
    return float(np.mean(rank < 1.5)), float(np.mean(1 / rank)), float(np.mean(right))


def same_story(stories: list[Story], drawn: list[Query], score: Scorer) -> float:
    """recall@1 among all sentences of the story but the last one of the context."""
    hits = []
    for i, position, _ in drawn:
        sentences = stories[i].sentences
        rest = [s for k, s in enumerate(sentences) if k not in (position, position - 1)]
        hits.append(rank_of_first(score(stories[i], position, [sentences[position], *rest])) < 1.5)
    return float(np.mean(hits))


class Table:
    """The vectors of all sentences of a split, so that a candidate is one look-up."""

    def __init__(self, vectorizer: Any, stories: Sequence[Story]) -> None:
        texts = sorted({s.text for story in stories for s in story.sentences} | {""})
        self.rows = {text: row for row, text in enumerate(texts)}
        self.vectors = vectorizer.transform(texts).astype(np.float32).tocsr()

    def __call__(self, texts: Sequence[str]) -> Any:
        """Sparse vectors ``[len(texts), words]``."""
        return self.vectors[[self.rows[text] for text in texts]]


def last_texts(texts: Sequence[str], position: int, n: int) -> list[str]:
    """The last ``n`` sentences before ``position``, last first, padded with empty ones."""
    last = list(texts[max(0, position - n) : position])[::-1]
    return last + [""] * (n - len(last))


class Linear:
    """Bag of words of the last ``n`` sentences -> bag of words of the next one, by ridge."""

    def __init__(self, train: list[Story], known: list[Story], n: int) -> None:
        self.n = n
        words = CountVectorizer(token_pattern=TOKEN, binary=True)
        words.fit(s.text for story in train for s in story.sentences)
        table = Table(words, train)
        texts = [[s.text for s in story.sentences] for story in train]
        places = [(story, k) for story in texts for k in range(1, len(story))]
        source = self.blocks(table, [last_texts(story, k, n) for story, k in places])
        target = table([story[k] for story, k in places])
        self.mean = np.asarray(target.mean(0)).ravel()
        gram = (source.T @ source).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += RIDGE
        cross = (source.T @ target).toarray().astype(np.float64)
        self.weights = cho_solve(cho_factor(gram), cross).astype(np.float32)
        self.table = Table(words, known)

    def blocks(self, table: Table, contexts: list[list[str]]) -> Any:
        """One block of word indicators per context sentence, and a constant."""
        blocks = [table([context[k] for context in contexts]) for k in range(self.n)]
        return sp.hstack([*blocks, np.ones((len(contexts), 1), np.float32)]).tocsr()

    def __call__(self, story: Story, position: int, candidates: Sequence[StorySentence]) -> Any:
        """Cosine of the predicted and the candidates' words, the train mean subtracted."""
        context = last_texts([s.text for s in story.sentences], position, self.n)
        predicted = np.asarray(self.blocks(self.table, [context]) @ self.weights).ravel()
        predicted -= self.mean
        bags = self.table([c.text for c in candidates]).toarray() - self.mean
        return bags @ predicted / np.linalg.norm(bags, axis=1)


class Words:
    """TF-IDF cosine of the last ``n`` sentences and each candidate."""

    def __init__(self, words: TfidfVectorizer, known: list[Story], n: int) -> None:
        self.n = n
        self.table = Table(words, known)

    def __call__(self, story: Story, position: int, candidates: Sequence[StorySentence]) -> Any:
        """Dot products with the sum of the context's vectors (cosine up to a factor)."""
        last = [s.text for s in story.sentences[max(0, position - self.n) : position]]
        context = np.asarray(self.table(last).sum(0)).ravel()
        return self.table([c.text for c in candidates]) @ context


def paraphrases(split: str, words: TfidfVectorizer) -> tuple[float, float]:
    """TF-IDF's Spearman correlation with the grades, and recall@1 of the grade-5 paraphrase."""
    pairs = paraphrase_pairs(3_000, split=split)
    first = words.transform([p.first for p in pairs])
    second = words.transform([p.second for p in pairs])
    cosine = np.asarray(first.multiply(second).sum(1)).ravel()
    grades = np.array([p.score for p in pairs])
    alike = np.flatnonzero(grades == 5)[:CANDIDATES]
    seconds = [pairs[int(index)].second for index in alike]
    also = np.array([[same_meaning(one, other) for other in seconds] for one in seconds])
    table = (first[alike] @ second[alike].T).toarray()
    table[also & ~np.eye(len(also), dtype=bool)] = -1.0  # as right as the partner: no wrong candidate
    hits = [rank_of_first(np.roll(row, -k)) < 1.5 for k, row in enumerate(table)]
    return float(spearmanr(cosine, grades).statistic), float(np.mean(hits))


def main() -> None:
    """Print every number of docs/stories.md."""
    start = time.process_time()
    train = list(generate(TRAIN))
    splits = {name: list(generate(HELD_OUT, split=name)) for name in ("heldout", "unseen")}
    corpus_numbers(train, splits)
    known = [story for stories in splits.values() for story in stories]
    words = TfidfVectorizer(token_pattern=TOKEN)
    words.fit(s.text for story in train for s in story.sentences)
    rng = np.random.default_rng(0)
    scorers: dict[str, Scorer] = {
        "chance": lambda story, position, candidates: rng.random(len(candidates)),
        "TF-IDF, last sentence": Words(words, known, 1),
        "TF-IDF, last 3": Words(words, known, 3),
        "ridge, last sentence": Linear(train[:RIDGE_TRAIN], known, 1),
        "ridge, last 3": Linear(train[:RIDGE_TRAIN], known, 3),
        "oracle": oracle_scores,
    }
    for split, stories in splits.items():
        drawn = queries(stories)
        print(f"\n{split}: | recall@1 | MRR | right event | same story |")
        for name, score in scorers.items():
            numbers = *next_sentence(stories, drawn, score), same_story(stories, drawn, score)
            print(f"| {name} | " + " | ".join(f"{x:.3f}" for x in numbers) + " |", flush=True)
        correlation, recall = paraphrases(split, words)
        print(f"TF-IDF paraphrase Spearman {correlation:.2f}, recall@1 {recall:.2f}")
    print(f"\n{time.process_time() - start:.0f} CPU seconds")


if __name__ == "__main__":
    main()
