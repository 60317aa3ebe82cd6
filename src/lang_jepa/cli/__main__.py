"""`python -m lang_jepa.cli`."""

from lang_jepa.cli.app import main

main()
