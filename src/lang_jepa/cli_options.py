"""Options that several commands share."""

from typing import Annotated

import typer

Override = Annotated[
    list[str] | None,
    typer.Option(
        "--override", "-o", metavar="SECTION.KEY=VALUE", help="Change one setting; may be repeated."
    ),
]
DecoderOverride = Annotated[
    list[str] | None,
    typer.Option(
        "--dec-override", "-d", metavar="SECTION.KEY=VALUE", help="Change one of a decoder's settings."
    ),
]
