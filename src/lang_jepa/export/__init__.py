"""A trained model in the formats of other tools, and on the hub."""
