"""Encode text with an encoder checkpoint and search a corpus: `lang-jepa infer` with the original's options."""

import sys

from lang_jepa.cli import main

if __name__ == "__main__":
    arguments = ["infer"]
    rest = iter(sys.argv[1:])
    for argument in rest:
        arguments += [next(rest, "")] if argument == "--encoder-checkpoint" else [argument]
    sys.argv[1:] = arguments
    main()
