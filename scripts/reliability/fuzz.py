"""Damage and craft files for every reader; check that each is refused by name, or read, within memory and time limits.

    python scripts/reliability/fuzz.py [--tries 200] [--seed 0]

Half of the damaged files get correct hashes again, as an attacker would give them.
"""

import argparse
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import torch
from common import DECODER_LAST, Made, check, limit, tiny_settings

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.tokens.token_shards import TokenShards, write_shard
from lang_jepa.errors import LangJepaError
from lang_jepa.export.gpt import load_quantised_gpt, write_quantised_gpt
from lang_jepa.export.quantise import Rounding
from lang_jepa.files.atomic import sha256
from lang_jepa.inference.gpt import load_gpt
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import Lines
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import load_model, write_card
from lang_jepa.settings.load import read_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint, seal

MEGABYTES, SECONDS = 200, 10
Damage = Callable[[bytes, Random], bytes]


def flipped(content: bytes, random: Random) -> bytes:
    """Flip some bits."""
    found = bytearray(content)
    for _ in range(random.choice((1, 3, 30))):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def cut(content: bytes, random: Random) -> bytes:
    """Cut off the end."""
    return content[: random.randrange(len(content))]


def zeroed(content: bytes, random: Random) -> bytes:
    """Replace a stretch by zeros."""
    place = random.randrange(len(content))
    return content[:place] + bytes(min(200, len(content) - place)) + content[place + 200 :]


def repeated(content: bytes, random: Random) -> bytes:
    """Repeat a stretch."""
    place = random.randrange(len(content))
    return content[:place] + content[max(0, place - 300) :]


def other_number(content: bytes, random: Random) -> bytes:
    """Replace a digit by another number."""
    digits = [place for place, byte in enumerate(content[:20_000]) if 48 <= byte < 58]
    place = random.choice(digits or [0])
    return content[:place] + random.choice((b"9" * 12, b"-7", b"9" * 5000, b"1e99")) + content[place + 1 :]


def nested(content: bytes, random: Random) -> bytes:
    """Return deeply nested brackets."""
    return random.choice((b"[", b'{"a":', b"a: &a [")) * 60_000


def huge_header(content: bytes, random: Random) -> bytes:
    """Prepend a safetensors header that claims a huge size."""
    return (2 ** random.choice((27, 40, 63))).to_bytes(8, "little") + b"{" + content[:2000]


DAMAGES: tuple[Damage, ...] = (flipped, cut, zeroed, repeated, other_number, nested, huge_header)


class Target:
    """A reader and the files that it reads.

    Args:
        name: shown in messages.
        place: the file or folder, undamaged.
        read: function that reads it.
        card: file in the folder with the hashes of the others.
    """

    def __init__(self, name: str, place: Path, read: Callable[[Path], object], card: str | None = None) -> None:
        self.name, self.place, self.read, self.card = name, place, read, card
        self.files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        self.files = [path for path in self.files if not path.name.endswith(".lock")]

    def damage(self, random: Random) -> tuple[str, Path, bytes]:
        """Damage one file; return what was done, where, and the original content."""
        path, how = random.choice(self.files), random.choice(DAMAGES)
        content = path.read_bytes()
        path.write_bytes(how(content, random) if content else b"x")
        return f"{how.__name__} {path.name}", path, content

    def mend_hashes(self, path: Path) -> None:
        """Correct the hashes of a damaged file."""
        if path.suffix in (".pth", ".pt"):
            with path.open("r+b") as file:
                if path.stat().st_size > 2:
                    seal(file)
        elif self.card is not None and path.name != self.card:
            card = json.loads((self.place / self.card).read_text())
            name = path.relative_to(self.place).as_posix()
            write_card(self.place / self.card, card, {**card["sha256"], name: sha256(path)})


def in_child(read: Callable[[], object]) -> str:
    """Read in a process with limits; return "" if that succeeded or was refused by name, else what happened."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        said = "ended itself"
        try:
            limit(MEGABYTES, SECONDS)
            read()
            said = ""
        except LangJepaError:
            said = ""
        except BaseException:  # noqa: BLE001  (any other exception is a finding)
            said = traceback.format_exc()[-700:]
        finally:
            os.write(writer, said.encode(errors="replace"))
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return said or (f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "")


def read_corpus(path: Path) -> None:
    """Read all of a corpus."""
    for side in (Corpus.open(path).train, Corpus.open(path).validation):
        for index in range(0, side.num_sentences, 7):
            side.texts([index])
        starts = side.token_starts(np.arange(side.num_sentences))
        side.gather(starts, side.lengths(np.arange(side.num_sentences)))
        for document in range(side.num_documents):
            side.document_id(document)


def targets(made: Made, place: Path) -> list[Target]:
    """Return every reader, each with its own files."""
    model, (gpt, settings, card) = ConceptModel.load(made.encoder), load_gpt(made.gpt)
    lines = place / "lines.txt"
    lines.write_text("".join(f"The cat saw {i} dogs.\n" for i in range(40)))
    Index.build(model, Lines(lines), place / "index")
    shutil.copytree(prepare(tiny_settings(place / "unused").data).path, place / "corpus")
    shutil.rmtree(place / "corpus" / "concepts", ignore_errors=True)
    write_quantised_gpt(gpt, settings, card, place / "gpt.ljq", Rounding(bits=6))
    (place / "shards").mkdir()
    write_shard(place / "shards" / "train_000000.bin", np.arange(2000) % 500)

    def searched(path: Path) -> None:
        Index.open(path, model).search(["The cat saw 3 dogs."])

    def shards(path: Path) -> None:
        found = TokenShards.find(path, "train", vocab_size=600)
        found.read(0, found.num_tokens)

    return [
        Target("checkpoint of an encoder", made.encoder / LAST, load_checkpoint),
        Target("checkpoint of a decoder", made.decoder / DECODER_LAST, load_checkpoint),
        Target("checkpoint of a GPT", made.gpt / LAST, load_checkpoint),
        Target("model directory", made.encoder / "model", load_model, "lang_jepa.json"),
        Target("model directory with its decoder", made.encoder / "model", ConceptModel.load, "lang_jepa.json"),
        Target("model directory of a GPT", made.gpt / "model", load_gpt, "gpt.json"),
        Target("quantised GPT", place / "gpt.ljq", load_quantised_gpt),
        Target("index", place / "index", searched, "index.json"),
        Target("corpus", place / "corpus", read_corpus),
        Target("token shards", place / "shards", shards),
        Target("settings", made.encoder / "settings.yaml", read_settings),
    ]


def main() -> int:
    """Damage and read files, and count the failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    random, failures = Random(options.seed), list[str]()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        found = targets(Made.make(Path(folder) / "made"), Path(folder))
        for target in found:
            said = in_child(lambda target=target: target.read(target.place))  # type: ignore[misc]
            assert not said, f"{target.name} cannot be read whole: {said}"
        for number in range(options.tries):
            target = found[number % len(found)]
            what, path, content = target.damage(random)
            card = target.place / target.card if target.card else None
            before = card.read_bytes() if card else b""
            if random.random() < 0.5:
                target.mend_hashes(path)
            said = in_child(lambda target=target: target.read(target.place))  # type: ignore[misc]
            check(f"{number}: {target.name}, {what}", not said, said, failures)
            if card:
                card.write_bytes(before)
            path.write_bytes(content)
    print(f"{options.tries - len(failures)} of {options.tries} refused or read, none crashed")
    return bool(failures)


if __name__ == "__main__":
    raise SystemExit(main())
