"""The Python API: training on texts that are in memory, and a scikit-learn transformer."""
