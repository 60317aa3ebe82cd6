"""Options that several commands share."""

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
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Of a folder: read only these files, such as '**/*.md'; repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Of a folder: leave these files out; repeated."),
]
DecoderOverride = Annotated[
    list[str] | None,
    typer.Option(
        "--dec-override", "-d", metavar="SECTION.KEY=VALUE", help="Change one of a decoder's settings."
    ),
]


def settings_of(recipe: str, *overrides: str) -> "Settings":
    """Settings of a command that may need the hub; fails at once where they need it and it is not there."""
    from lang_jepa.settings import load_settings

    settings = load_settings(recipe, overrides)
    if go_offline_if_unreachable():
        from lang_jepa.data.documents import open_source

        open_source(
            settings.data
        )  # a hub source says here what to set, seconds before torch is even imported
    return settings
