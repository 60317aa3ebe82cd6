"""Train the concept decoder of the latest encoder: `lang-jepa train concept_decoder_original` under its old name."""

import sys

from lang_jepa.cli.app import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train", "concept_decoder_original"]
    main()
