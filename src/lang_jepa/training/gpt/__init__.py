"""Training a GPT on tokens, with or without the span loss."""
