"""From documents to a corpus on disk: split, tokenized, without repetitions, written in blocks."""
