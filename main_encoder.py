"""Train the LANG-JEPA encoder: `lang-jepa train next_sentence` under its old name."""

import sys

from lang_jepa.cli.app import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train", "next_sentence"]
    main()
