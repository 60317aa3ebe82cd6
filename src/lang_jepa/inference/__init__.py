"""Trained models in use: loading, encoding, predicting, decoding, tools for documents."""
