"""Metrics, each a function of arrays, and their intervals."""
