"""From texts to sentences, and from sentences to tokens."""
