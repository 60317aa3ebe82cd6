"""From a text to sentences, and from sentences to tokens."""
