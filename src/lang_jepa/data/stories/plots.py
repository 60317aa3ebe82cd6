"""All kinds of story and their plots."""

from __future__ import annotations

from collections.abc import Callable

from lang_jepa.data.stories import plots_home, plots_outdoors, plots_town
from lang_jepa.data.stories.parts import Plot
from lang_jepa.data.stories.world import World

KINDS: dict[str, Callable[[World], Plot]] = {
    "cook": plots_home.cook,
    "fix": plots_home.fix,
    "ill": plots_home.ill,
    "grow": plots_home.grow,
    "shop": plots_town.shop,
    "exam": plots_town.exam,
    "feast": plots_town.feast,
    "visit": plots_town.visit,
    "lost": plots_outdoors.lost,
    "go": plots_outdoors.go,
    "storm": plots_outdoors.storm,
    "fish": plots_outdoors.fish,
}
