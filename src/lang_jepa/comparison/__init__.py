"""Recipes against each other: equal runs over several seeds, and what may be concluded from them."""
