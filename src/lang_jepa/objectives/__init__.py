"""Distances, regularizers and their sum."""
