"""What a score has to beat: copying, words, n-grams, compressors, TextTiling."""
