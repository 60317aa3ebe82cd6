"""What a predictor tells about a document, measured: topic boundaries, sentences that do not belong, continuations."""
