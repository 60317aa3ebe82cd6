"""Predictors, which map context states to the expected embedding."""
