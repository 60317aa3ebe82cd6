"""Whether this project is of use for somebody's text: one command reads, trains, scores and writes a page of it."""
