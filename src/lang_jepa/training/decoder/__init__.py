"""Training a concept decoder on the concepts of a frozen encoder."""
