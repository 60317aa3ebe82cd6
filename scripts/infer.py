"""Encode text with an encoder checkpoint and search a corpus: `lang-jepa infer` with the original's options."""

import sys

from lang_jepa.cli import main

DECODER_OPTIONS = ("--decoder-checkpoint", "--sample", "--temperature", "--top-p")


def translate(arguments: list[str]) -> list[str]:
    """`--encoder-checkpoint PATH` or `--encoder-checkpoint=PATH` as the positional argument of `infer`."""
    for argument in arguments:
        if argument.split("=")[0] in DECODER_OPTIONS:
            print(
                f"error: {argument.split('=')[0]}: this release has no decoder, so concepts cannot be turned back into "
                "text yet. Leave the option out to see concepts and, with --corpus FILE, their nearest sentences.",
                file=sys.stderr,
            )
            sys.exit(2)
    name = "--encoder-checkpoint"
    return ["infer", *(argument.removeprefix(f"{name}=") for argument in arguments if argument != name)]


if __name__ == "__main__":
    sys.argv[1:] = translate(sys.argv[1:])
    main()
