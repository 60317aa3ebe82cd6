"""Encoder, pooling, predictor and target, independent of files and training."""
