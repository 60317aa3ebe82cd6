"""Export trained models in the formats of other tools, and to the hub."""
