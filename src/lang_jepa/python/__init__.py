"""What Python users call: training from texts that are in memory, and a scikit-learn transformer."""
