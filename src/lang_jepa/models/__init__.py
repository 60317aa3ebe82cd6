"""Encoder, pooling, predictor and target: they know nothing of files or training."""
