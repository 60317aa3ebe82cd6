"""Encode text with an encoder checkpoint, decode, search a corpus: `lang-jepa infer` with the old script's options."""

import sys

from lang_jepa.cli.app import main

RENAMED = {"--encoder-checkpoint": None, "--decoder-checkpoint": "--decoder"}


def translate(arguments: list[str]) -> list[str]:
    """Make `--encoder-checkpoint PATH` the positional argument of `infer`, and `--decoder-checkpoint` `--decoder`."""
    kept = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in RENAMED:
            kept.append(argument)
            continue
        kept += [part for part in (RENAMED[name], value) if part]
    return ["infer", *kept]


if __name__ == "__main__":
    sys.argv[1:] = translate(sys.argv[1:])
    main()
