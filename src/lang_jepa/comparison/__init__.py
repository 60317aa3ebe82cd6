"""Compare recipes: equal runs over several seeds, and what may be concluded from them."""
