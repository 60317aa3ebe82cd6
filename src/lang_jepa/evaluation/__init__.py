"""Evaluation of anything that can encode sentences and predict, beside baselines."""
