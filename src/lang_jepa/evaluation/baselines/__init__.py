"""Baselines: copying, words, n-grams, compressors, TextTiling."""
