"""Score an encoder checkpoint: `lang-jepa evaluate` with the options of the original script."""

import sys

from lang_jepa.cli.app import main


def translate(arguments: list[str]) -> list[str]:
    """Turn `--checkpoint PATH` or `--checkpoint=PATH` into the positional argument of `evaluate`."""
    kept = [argument.removeprefix("--checkpoint=") for argument in arguments if argument != "--checkpoint"]
    return ["evaluate", *kept]


if __name__ == "__main__":
    sys.argv[1:] = translate(sys.argv[1:])
    main()
