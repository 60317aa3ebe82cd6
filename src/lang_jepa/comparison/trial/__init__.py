"""Find out whether this project is useful for a given text: one command reads, trains, scores and writes a page."""
