"""Show the hits of an index, with the file and line of each, or as JSON."""

from typing import Any

from lang_jepa.cli.console import plain
from lang_jepa.errors import one_line
from lang_jepa.inference.folders.hits import HitPlaces
from lang_jepa.inference.index import Followed, Hit, Index


class ShownHits:
    """Shows the hits of an index.

    Args:
        index: that the hits are from.
        paragraph: also show the paragraph around each hit.
    """

    def __init__(self, index: Index, *, paragraph: bool = False) -> None:
        self._places, self._paragraph = HitPlaces(index), paragraph

    def plain(self, one: Hit | Followed) -> dict[str, Any]:
        """Return a hit as plain data: what is shown, and its place in the source."""
        hit = one.hit if isinstance(one, Followed) else one
        place = self._places.of(hit)
        found: dict[str, Any] = {"score": hit.score, "text": hit.text, "document": hit.document}
        found |= {"position": hit.position, "path": place and place.path, "line": place and place.line}
        if isinstance(one, Followed):
            found |= {"likeness": one.likeness, "after": one.after}
        if self._paragraph:
            found["paragraph"] = self._places.around(hit) if place is None else place.paragraph
        return found

    def show(self, one: Hit | Followed) -> None:
        """Print a hit; line breaks inside a sentence become spaces."""
        hit = one.hit if isinstance(one, Followed) else one
        place = self._places.of(hit)
        known = place is not None and place.line is not None
        where = str(place) if known else f"{one_line(hit.document)}\u00a0#{hit.position}"
        plain(f"  {hit.score:7.4f}  {one_line(hit.text)}  [{one_line(where)}]")
        if isinstance(one, Followed):
            plain(f"           after: {one_line(one.after)}  [{one.likeness:.2f}]", style="dim")
        if self._paragraph:
            around = self._places.around(hit) if place is None else place.paragraph
            plain(f"           {one_line(around)}", style="dim")
