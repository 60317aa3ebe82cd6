"""Models to use: loading, encoding, predicting, decoding, tools for documents."""
