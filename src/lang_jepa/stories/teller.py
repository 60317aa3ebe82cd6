"""The teller: turns an event of a world into a sentence."""

from __future__ import annotations

from random import Random

from lang_jepa.stories.wordings import PERSON_SLOTS, Event, Piece, Template
from lang_jepa.stories.world import SETTINGS, World

LEAD_CHANCE = 0.7
PRONOUN_CHANCE = 0.25
TRADE_TOLD_CHANCE = 0.6
TRADE_CHANCE = 0.3
QUALITY_CHANCE = 0.4
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "March", "May", "June", "August", "October", "November")
OPENINGS = (
    *(f"on {day}" for day in DAYS),
    *(f"one {{d}} in {month}" for month in MONTHS),
    "one {d}", "early one {d}", "late one {d}", "last week", "last year", "not long ago",
)  # fmt: skip
SEQUENCES = (
    "then", "soon", "a little later", "after that", "before long", "after a while", "that {d}",
    "a moment later", "some time later", "meanwhile", "half an hour later", "an hour later",
    "not long after", "within minutes", "ten minutes later", "later that day", "all at once",
    "in the meantime", "by and by", "this time", "twenty minutes later", "two hours later",
    "finally", "at last", "by chance", "minutes later", "that same day", "afterwards",
    "a bit later", "as time went on",
    "three hours later", "five minutes later", "shortly after", "in a while", "at that moment",
    "just then", "in time", "at some point", "around that time",
)  # fmt: skip
MANNERS = (
    "without a word", "with a smile", "with great care", "in a hurry", "with a sigh", "quietly",
    "slowly", "full of hope", "as usual", "without delay", "in secret", "a little tired",
    "with new courage", "without thinking", "in silence",
)  # fmt: skip
SKIES = (
    "outside", "meanwhile", "in the meantime", "by now", "as usual", "far and wide",
    "all around", "at the same time", "all the while", "on that day", "as ever",
    "as so often", "at this hour", "as before",
    "at that time", "that week", "that day", "as expected", "at this time of year",
)  # fmt: skip
ENDS = (
    "in the end", "at last", "later that day", "soon", "after that", "before long", "that day",
    "finally", "when it was over", "after all that", "some time later", "then", "by then",
    "not long after", "at the end of the day", "once it was over", "that same day", "afterwards",
    "at the end", "when all was done", "after a while", "in time", "this time", "by and by",
    "an hour later", "two hours later", "after everything", "on that day", "a little later",
)  # fmt: skip
BARE = frozenset(
    [
        "after",
        "again",
        "at",
        "because",
        "before",
        "bit",
        "black",
        "by",
        "come",
        "do",
        "eight",
        "for",
        "golden",
        "have",
        "here",
        "hour",
        "how",
        "in",
        "instead",
        "just",
        "last",
        "lost",
        "mile",
        "near",
        "next",
        "nothing",
        "on",
        "only",
        "over",
        "page",
        "since",
        "six",
        "so",
        "surprise",
        "swim",
        "take",
        "thank",
        "thanks",
        "that",
        "three",
        "through",
        "tired",
        "under",
        "well",
        "wet",
        "what",
        "when",
        "where",
        "with",
        "without",
        "you",
    ]
)  # first words of wordings that bear no opening phrase, being one or having one themselves
LEADS = {
    "o": OPENINGS, "t": SEQUENCES, "tm": SEQUENCES + MANNERS, "w": SKIES, "e": ENDS,
}  # fmt: skip
PRONOUNS = {True: ("she", "her", "her", "herself"), False: ("he", "him", "his", "himself")}


class Teller:
    """Tells one story's events. Keeps who was named, so that pronouns are never ambiguous.

    ``reserved`` selects the templates of the split ``unseen``; ``explicit`` avoids pronouns.
    """

    def __init__(self, world: World, rng: Random, reserved: bool, explicit: bool = False) -> None:
        self._random = rng.random
        self._reserved = reserved
        self._pronoun_chance = 0.0 if explicit else PRONOUN_CHANCE
        self._named_person = explicit
        self._trade, self._trade_told = world.trade, False
        self._since_companion = 99
        self._leads_told: set[str] = set()
        roles, setting = world.roles, SETTINGS[world.kind]
        he, him, his, himself = PRONOUNS[world.woman]
        bhe, bhim, bhis, _ = PRONOUNS[not world.woman]
        self._person, self._companion = roles["person"], roles["companion"]
        self._a_forms = {"A": he, "Ao": him, "As": his}
        self._b_forms = {"B": bhe, "Bo": bhim, "Bs": bhis}
        self._quality = roles.get("quality")
        self._object, self._countable = roles["object"], setting.countable[0]
        second = roles.get("second", "")
        self._fixed = {
            "he": he, "him": him, "his": his, "himself": himself,
            "bhe": bhe, "bhim": bhim, "bhis": bhis, "kx": self._object,
            "y": f"the {second}", "ny": second, "ay": f"{article(second, setting.countable[1])} {second}",
            "p": f"the {roles['place']}", "q": f"the {roles['found']}",
            "r": world.relation, "d": world.time,
        }  # fmt: skip

    def tell(self, event: Event) -> tuple[str, Template]:
        """Return the sentence and the template it was told with."""
        random = self._random
        templates = event.reserved if self._reserved else event.told
        template = templates[int(random() * len(templates))]
        pieces = template.variants[int(random() * len(template.variants))]
        self._since_companion += 1
        text = self._render(pieces)
        if random() < LEAD_CHANCE and pieces[0][0].partition(" ")[0].strip(",") not in BARE:
            text = self._lead(event.leads, pieces, text)
        return text[0].upper() + text[1:], template

    def _lead(self, groups: str, pieces: tuple[Piece, ...], text: str) -> str:
        literal, slot = pieces[0]
        if groups == "tm" and (literal or slot not in PERSON_SLOTS):
            groups = "t"
        if groups == "o" and slot == "Bn":
            return text
        leads = LEADS[groups]
        lead = leads[int(self._random() * len(leads))].replace("{d}", self._fixed["d"])
        if lead in self._leads_told:
            return text
        self._leads_told.add(lead)
        return f"{lead}, {text}"

    def _render(self, pieces: tuple[Piece, ...]) -> str:
        fixed = self._fixed
        out = []
        for literal, slot in pieces:
            out.append(literal)
            if not slot:
                continue
            form = fixed.get(slot)
            out.append(form if form is not None else self._vary(slot))
        return "".join(out)

    def _vary(self, slot: str) -> str:
        if slot in self._a_forms:
            return self._tell_person(slot)
        if slot in self._b_forms or slot == "Bn":
            pronoun_fits = slot != "Bn" and self._since_companion <= 1
            self._since_companion = 0
            if pronoun_fits and self._random() < self._pronoun_chance:
                return self._b_forms[slot]
            return self._companion + "'s" if slot == "Bs" else self._companion
        noun = self._object
        if self._quality and self._random() < QUALITY_CHANCE:
            noun = f"{self._quality} {noun}"
        if slot == "nx":
            return noun
        return f"the {noun}" if slot == "x" else f"{article(noun, self._countable)} {noun}"

    def _tell_person(self, slot: str) -> str:
        point = self._random()
        name = self._person
        if not self._named_person:
            self._named_person = True
            if point < TRADE_TOLD_CHANCE:
                self._trade_told = True
                name = f"the {self._trade} {name}"
        elif point < self._pronoun_chance:
            return self._a_forms[slot]
        elif self._trade_told and point > 1.0 - TRADE_CHANCE:
            name = f"the {self._trade}"
        return name + "'s" if slot == "As" else name


def article(noun: str, countable: bool) -> str:
    """The indefinite article: "a" or "an" of what is counted singly, "some" of the rest."""
    if not countable:
        return "some"
    return "an" if noun[:1] in "aeiou" else "a"
