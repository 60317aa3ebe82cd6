"""Write the sample conversations and logs of examples/: the same ones at every call.

They are made up by rules, so that it is known what may follow what: python scripts/write_samples.py [FOLDER]
"""

import json
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

TOWNS = ["Porto", "Graz", "Lund", "Ghent", "Turku", "Galway", "Bergen", "Lyon"]
NAMES = ["Alvarez", "Brandt", "Costa", "Dubois", "Eriksen", "Fontana", "Haas", "Ivanova"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
THINGS = ["desk lamp", "bicycle light", "board game", "rain jacket", "coffee grinder", "pair of boots", "radio", "tent"]


class Talk:
    """One conversation: turns of user and assistant by turns, each in one of its wordings."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.turns: list[dict[str, str]] = []

    def say(self, role: str, *wordings: str) -> None:
        self.turns.append({"role": role, "content": self.draw.choice(wordings)})

    def ask(self, *wordings: str) -> None:
        self.say("user", *wordings)

    def answer(self, *wordings: str) -> None:
        self.say("assistant", *wordings)

    def thanks(self) -> None:
        self.ask("Thank you, that is all.", "Great, thanks for your help.", "Perfect. Thank you!")
        self.answer("You are welcome. Have a nice day.", "Gladly. Goodbye!")


def table(talk: Talk) -> None:
    """A table in a restaurant is booked."""
    town, day, name = (talk.draw.choice(words) for words in (TOWNS, DAYS, NAMES))
    people, hour = talk.draw.randint(2, 8), talk.draw.randint(17, 21)
    talk.ask(f"I want to book a table in {town} for {day}.", f"Can I have a table on {day}, please? In {town}.")
    talk.answer(
        "Gladly. For how many people, and at what time?", "Of course. How many will you be, and when will you come?"
    )
    talk.ask(f"We are {people}, at {hour} o'clock.", f"For {people} people at {hour} o'clock.")
    if talk.draw.random() < 0.25:
        talk.answer(f"At {hour} o'clock we are full. Would {hour + 1} o'clock suit you?")
        talk.ask("Yes, that suits us.", "An hour later is fine.")
        hour += 1
    talk.answer(f"There is a free table for {people} at {hour} o'clock. What name shall I put it under?")
    talk.ask(f"Under {name}, please.", f"The name is {name}.")
    talk.answer(f"Your table for {people} on {day} is booked.", f"It is booked: {day}, {people} people, {name}.")
    if talk.draw.random() < 0.5:
        talk.ask("Do you have vegetarian dishes?", "Is there something without meat?")
        talk.answer("Yes, half of our menu is vegetarian.")
    if talk.draw.random() < 0.4:
        talk.ask("Is there a place to park?", "Where can we leave the car?")
        talk.answer("Yes, there is a car park behind the house.")


def refund(talk: Talk) -> None:
    """Something that was bought is sent back."""
    thing = talk.draw.choice(THINGS)
    why = talk.draw.choice(["it is broken", "it is the wrong size", "it does not work", "it is the wrong colour"])
    talk.ask(f"I would like to return my {thing}, {why}.", f"I bought a {thing} and {why}. Can I send it back?")
    talk.answer("I can help with that. When did you buy it?", "I am sorry to hear that. On which day did you buy it?")
    talk.ask("Last week.", "Ten days ago.", "On the first of the month.")
    talk.answer("Do you still have the receipt?", "And do you have the receipt?")
    if talk.draw.random() < 0.75:
        talk.ask("Yes, I have it here.", "Yes, I found it.")
        talk.answer("Then you may send it back for free. Would you like your money back, or a new one?")
        if talk.draw.random() < 0.5:
            talk.ask("I would like my money back.", "The money, please.")
            talk.answer("You will find the return label in your e-mail. We pay when the parcel is here.")
            talk.ask("How long does it take?", "When will I have the money?")
            talk.answer("We pay within five days after the parcel is here.")
        else:
            talk.ask("A new one, please.", "I would rather have a new one.")
            talk.answer(f"A new {thing} will leave our store tomorrow. The return label is in your e-mail.")
    else:
        talk.ask("No, I cannot find it.", "I am afraid I threw it away.")
        talk.answer("Without a receipt we can only offer you a voucher. Is that all right?")
        talk.ask("Yes, a voucher is fine.", "Better than nothing, yes.")
        talk.answer("The voucher is in your e-mail.")


def internet(talk: Talk) -> None:
    """A connection is mended."""
    town, day = talk.draw.choice(TOWNS), talk.draw.choice(DAYS)
    talk.ask(
        "My internet connection keeps breaking off.",
        "The internet is down again.",
        "I have had no internet since this morning.",
    )
    talk.answer("Have you restarted the router already?", "Did you switch the router off and on again?")
    if talk.draw.random() < 0.3:
        talk.ask("No, not yet. One moment.", "I will try it now.")
        talk.answer("I will wait. Does the green light come on?")
        talk.ask("Yes, and it works again!", "It is green, and I am online.")
        talk.answer("Good. Call us again if it breaks off once more.")
        return
    talk.ask("Yes, twice. It did not help.", "Yes, it makes no difference.")
    talk.answer(f"I see. There is work on the line in {town}. Do you live near there?")
    talk.ask(f"Yes, I live in {town}.", "Yes, that is around the corner.")
    talk.answer(
        "Then I will send a technician. Which day suits you?",
        "A technician will come to you. On which day are you at home?",
    )
    talk.ask(f"{day} in the morning would be good.", f"On {day}, please.")
    talk.answer(f"The technician will come on {day} between eight and twelve.")
    if talk.draw.random() < 0.5:
        talk.ask("Do I have to pay for the days without internet?", "Will I get money back for these days?")
        talk.answer("No, you will see it on your next bill: we take these days off.")


def parcel(talk: Talk) -> None:
    """A parcel is looked for."""
    number, town, day = talk.draw.randint(10000, 99999), talk.draw.choice(TOWNS), talk.draw.choice(DAYS)
    talk.ask("Where is my parcel?", "My parcel has not come yet.", "I am waiting for a parcel.")
    talk.answer("What is the number of your order?", "I will look. May I have the number of the order?")
    talk.ask(f"It is {number}.", f"The number is {number}.")
    talk.answer(
        f"Your parcel is in {town} and will be with you on {day}.", f"It left our store in {town}. It comes on {day}."
    )
    if talk.draw.random() < 0.5:
        talk.ask("Can you send it to another address?", "I am not at home then. Can it go to my office?")
        talk.answer("The parcel is on its way, so the address cannot be changed. Shall a neighbour take it?")
        talk.ask("Yes, the neighbour on the left.", "Yes, number twelve will take it.")
        talk.answer("I have told the driver so.")


def repair(talk: Talk) -> None:
    """A bicycle is brought to be mended."""
    day, price = talk.draw.choice(DAYS), talk.draw.randint(3, 9) * 5
    part = talk.draw.choice(["brake", "chain", "front wheel", "back light", "saddle"])
    talk.ask(
        f"The {part} of my bicycle is broken. Can you mend it?", f"How much is it to mend the {part} of a bicycle?"
    )
    talk.answer(f"A new {part} is {price} euros with the work. When would you like to bring the bicycle?")
    talk.ask(f"On {day}, if you have time.", f"Could I come on {day}?")
    talk.answer(f"{day} is free. In the morning or in the afternoon?")
    talk.ask("In the morning, please.", "The afternoon is better.")
    talk.answer("Good. It will be ready on the day after. May I have your phone number?")
    talk.ask(f"It is 0{talk.draw.randint(100000, 999999)}.")
    talk.answer("Thank you. We will call you when it is ready.")


SERVICES = (table, refund, internet, parcel, repair)


def conversations(count: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """Conversations of the five services by turns: {id, messages}."""
    draw = random.Random(seed)
    for number in range(count):
        talk = Talk(draw)
        SERVICES[number % len(SERVICES)](talk)
        if draw.random() < 0.6:
            talk.thanks()
        yield {"id": f"{number:03}", "messages": talk.turns}


def request(draw: random.Random) -> Iterator[str]:
    """A request of a shop: accepted, read from the cache or the database, answered."""
    number, path = draw.randint(1000, 9999), f"/shop/{draw.choice(['items', 'search', 'cart'])}/{draw.randint(1, 300)}"
    yield f"INFO request {number} from 10.0.{draw.randint(1, 4)}.{draw.randint(1, 250)} accepted"
    if draw.random() < 0.6:
        yield f"DEBUG cache hit for {path}"
    else:
        yield f"DEBUG cache miss for {path}"
        yield f"INFO query took {draw.randint(4, 60)} ms, {draw.randint(1, 80)} rows"
    yield f"INFO request {number} answered with 200 in {draw.randint(5, 80)} ms"


def job(draw: random.Random) -> Iterator[str]:
    """A job of the scheduler, which tells how far it is."""
    number = draw.randint(100, 999)
    yield f"INFO job {number} started by the scheduler"
    for share in (25, 50, 75):
        yield f"DEBUG job {number} is {share} % done"
    yield f"INFO job {number} finished, {draw.randint(10, 9000)} files written to /var/export/{number}"


def login(draw: random.Random) -> Iterator[str]:
    """Somebody logs in, orders something and logs out."""
    name, session = draw.choice(["anna", "bela", "cleo", "dora", "emil"]), f"0x{draw.randrange(16**8):08x}"
    yield f"INFO login of {name}"
    for attempt in range(1, draw.choice([1, 1, 1, 2])):
        yield f"WARN wrong password for {name}, attempt {attempt}"
    yield f"INFO session {session} opened for {name}"
    yield f"INFO order {draw.randint(10000, 99999)} placed in session {session}"
    yield f"INFO mail sent to {name}@example.org"
    yield f"INFO session {session} closed"


def log(count: int, start: datetime, seed: int) -> list[str]:
    """`count` lines, each course one after the other."""
    draw, lines, now = random.Random(seed), [], start
    while len(lines) < count:
        for text in draw.choices([request, job, login], [6, 1, 2])[0](draw):
            now += timedelta(milliseconds=draw.randint(40, 1800))
            lines.append(f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03} {text}")
    return lines[:count]


def with_faults(lines: list[str]) -> list[str]:
    """Three things that should be seen: a stuck job, an error, a session that nobody logged in to."""

    def after(text: str, start: int) -> int:
        return next(number for number in range(start, len(lines)) if text in lines[number]) + 1

    stuck = after("is 25 % done", 20)
    lines[stuck:stuck] = [lines[stuck - 1]] * 12
    full = after("answered", stuck + 20)
    lines[full:full] = [lines[full - 1][:24] + "ERROR disk /dev/sda1 is full, the export was stopped"]
    opened = after("login of", full + 10)
    del lines[opened - 1]
    return lines


def main(folder: Path) -> None:
    chats = [json.dumps(chat, ensure_ascii=False) for chat in conversations(400)]
    (folder / "chats.jsonl").write_text("\n".join(chats) + "\n", encoding="utf-8")
    (folder / "app.log").write_text("\n".join(log(4000, datetime(2026, 3, 1, 6), 0)) + "\n", encoding="utf-8")
    (folder / "new.log").write_text(
        "\n".join(with_faults(log(120, datetime(2026, 3, 2, 8), 1))) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples")
