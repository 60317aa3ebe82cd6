"""Scores of anything that can encode() and predict(), beside their baselines."""
