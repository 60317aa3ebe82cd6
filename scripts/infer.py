"""Encode text with an encoder checkpoint, decode it, search a corpus: `lang-jepa infer` with the original's options."""

import sys

from lang_jepa.cli.app import main

RENAMED = {"--encoder-checkpoint": None, "--decoder-checkpoint": "--decoder"}


def translate(arguments: list[str]) -> list[str]:
    """`--encoder-checkpoint PATH` as the positional argument of `infer`, `--decoder-checkpoint` as `--decoder`."""
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
