"""Options that several commands share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.hub import go_offline_if_unreachable

if TYPE_CHECKING:
    from lang_jepa.config import Settings

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


def settings_of(recipe: str, *overrides: str, usual: Sequence[str] = ()) -> "Settings":
    """Settings of a command that may need the hub; fails at once where they need it and it is not there."""
    from lang_jepa.settings import load_settings

    settings = load_settings(recipe, overrides, usual)
    if go_offline_if_unreachable():
        from lang_jepa.data.documents import open_source

        open_source(
            settings.data
        )  # a hub source says here what to set, seconds before torch is even imported
    return settings
