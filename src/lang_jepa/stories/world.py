"""The hidden world of a story: people, things, places and weather."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

WOMEN = ("Anna", "Clara", "Emma", "Grace", "Helen", "Julia", "Laura", "Maria", "Nora", "Paula",
         "Ruth", "Sofia")  # fmt: skip
MEN = ("Adam", "Boris", "David", "Felix", "Henry", "Jonas", "Karl", "Leo", "Martin", "Oscar",
       "Peter", "Simon")  # fmt: skip
FEMALE_RELATIONS = ("sister", "cousin", "aunt", "niece", "neighbor", "friend")
MALE_RELATIONS = ("brother", "cousin", "uncle", "nephew", "neighbor", "friend")
TRADES = ("painter", "pilot", "tailor", "poet", "lawyer", "plumber", "writer", "dancer", "florist",
          "barber", "potter", "chemist")  # fmt: skip
QUALITIES = ("red", "blue", "green", "yellow", "black", "white", "old", "small")
TIMES = ("morning", "afternoon", "evening")
WEATHERS = ("sun", "rain", "wind", "snow", "fog")
PLACES = ("station", "harbor", "library", "bridge", "church", "mill", "park", "bakery", "school",
          "museum", "square", "farm", "theater", "castle", "hospital")  # fmt: skip
WATERS = ("lake", "river", "pond", "canal", "bay", "dam")


@dataclass(frozen=True, slots=True)
class Setting:
    """The inventory of one kind of story: the possible fillers of its roles.

    ``objects`` fill the role ``object`` and ``seconds`` the role ``second``; ``countable`` says for
    each of the two whether its indefinite article is "a/an" (otherwise "some"); ``qualities`` says
    whether the object has a quality (a colour, an age); ``weathers`` are the weathers' probabilities.
    """

    objects: tuple[str, ...]
    seconds: tuple[str, ...] = ()
    countable: tuple[bool, bool] = (True, True)
    qualities: bool = False
    places: tuple[str, ...] = PLACES
    weathers: dict[str, float] = field(default_factory=lambda: {"sun": 0.5, "rain": 0.5})


SETTINGS: dict[str, Setting] = {
    "cook": Setting(
        ("pie", "cake", "curry", "omelette", "stew", "pudding"),
        ("butter", "salt", "flour", "sugar", "pepper"), (True, False),
    ),
    "fix": Setting(
        ("bicycle", "radio", "clock", "toaster", "lantern", "pump"),
        ("hammer", "screwdriver", "wrench", "drill", "needle"), qualities=True,
    ),
    "ill": Setting(
        ("cold", "fever", "cough", "headache", "toothache", "rash"),
        ("broth", "syrup", "ginger", "honey", "medicine"), (True, False),
    ),
    "shop": Setting(
        ("apples", "eggs", "onions", "peaches", "potatoes", "cherries"),
        ("farmer", "merchant", "butcher", "gardener", "miller"), (False, True),
        weathers={"sun": 0.5, "wind": 0.5},
    ),
    "exam": Setting(("algebra", "history", "chemistry", "geography", "biology", "grammar")),
    "feast": Setting(
        ("kite", "guitar", "telescope", "bracelet", "globe", "drum"),
        ("cupcakes", "cookies", "muffins", "pancakes", "dumplings"), (True, False), True,
    ),
    "visit": Setting(
        ("teapot", "cushion", "mirror", "necklace", "puzzle", "vase"),
        ("tea", "coffee", "cocoa", "juice", "cider"), (True, False), True,
        weathers={"snow": 0.5, "fog": 0.5},
    ),
    "lost": Setting(
        ("ring", "scarf", "watch", "wallet", "glove", "umbrella"), qualities=True,
        weathers={"rain": 0.35, "wind": 0.3, "fog": 0.35},
    ),
    "go": Setting(
        ("bus", "train", "ferry", "tram", "coach", "boat"),
        ("letter", "parcel", "painting", "violin", "camera"), qualities=True,
        weathers={"sun": 0.3, "snow": 0.4, "fog": 0.3},
    ),
    "grow": Setting(
        ("tomatoes", "roses", "beans", "tulips", "pumpkins", "strawberries"),
        ("snails", "birds", "rabbits", "beetles", "mice"), (False, False),
    ),
    "storm": Setting(
        ("hens", "goats", "ponies", "ducks", "geese", "lambs"),
        ("roof", "fence", "chimney", "shed", "porch"), (False, True),
        places=("mill", "bridge", "church", "castle", "station", "school"),
        weathers={"wind": 0.5, "rain": 0.5},
    ),
    "fish": Setting(
        ("trout", "salmon", "carp", "perch", "pike", "eel"),
        ("worms", "corn", "crickets", "cheese", "shrimp"), (True, False), places=WATERS,
        weathers={"sun": 0.5, "fog": 0.5},
    ),
}  # fmt: skip


@dataclass(slots=True)
class World:
    """One story's hidden state: the roles, filled from the start, and the facts that have happened."""

    kind: str
    roles: dict[str, str]
    woman: bool
    relation: str
    trade: str
    time: str
    weather: str = ""
    facts: set[str] = field(default_factory=set)


def make_world(kind: str, rng: Random) -> World:
    """Draw the people, things and places of a story of ``kind``. The two people differ in gender,
    so "he" and "she" are never ambiguous.
    """
    setting = SETTINGS[kind]
    random = rng.random
    woman = random() < 0.5
    heroes, friends = (WOMEN, MEN) if woman else (MEN, WOMEN)
    relations = MALE_RELATIONS if woman else FEMALE_RELATIONS
    place = int(random() * len(setting.places))
    other = (place + 1 + int(random() * (len(setting.places) - 1))) % len(setting.places)
    roles = {
        "person": heroes[int(random() * len(heroes))],
        "companion": friends[int(random() * len(friends))],
        "object": setting.objects[int(random() * len(setting.objects))],
        "place": setting.places[place],
        "found": setting.places[other],
    }
    if setting.seconds:
        roles["second"] = setting.seconds[int(random() * len(setting.seconds))]
    if setting.qualities:
        roles["quality"] = QUALITIES[int(random() * len(QUALITIES))]
    relation = relations[int(random() * len(relations))]
    trade = TRADES[int(random() * len(TRADES))]
    return World(kind, roles, woman, relation, trade, TIMES[int(random() * len(TIMES))])
