"""Predictors: from context states to the embedding that is expected."""
