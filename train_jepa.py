"""Train a GPT; environment variables such as JEPA_LAMBDA=0.01 change settings, see docs/gpt.md."""

import sys

from lang_jepa.cli.app import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train", "gpt_jepa", "--environment"]
    main()
