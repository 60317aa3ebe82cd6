"""Tasks: what is asked, of which data, with which baselines."""
