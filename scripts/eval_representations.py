"""Score an encoder checkpoint: `lang-jepa evaluate` with the options of the original script."""

import sys

from lang_jepa.cli import main

if __name__ == "__main__":
    arguments = ["evaluate"]
    rest = iter(sys.argv[1:])
    for argument in rest:
        arguments += [next(rest, "")] if argument == "--checkpoint" else [argument]
    sys.argv[1:] = arguments
    main()
