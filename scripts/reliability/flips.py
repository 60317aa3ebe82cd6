"""Flip random bits in the checkpoints of every system, and check that each is refused before anything is loaded.

python scripts/reliability/flips.py [--flips 30] [--seed 0]
"""

import argparse
import tempfile
from pathlib import Path
from random import Random

import torch
from common import DECODER_LAST, Made, check

from lang_jepa.errors import LangJepaError
from lang_jepa.training.checkpoint import LAST, load_checkpoint


def refused(path: Path) -> str:
    """Return "" if a checkpoint is refused by name and nothing is loaded; else what happened."""
    real, loaded = torch.load, list[str]()
    torch.load = lambda *args, **options: loaded.append("it was loaded")  # type: ignore[assignment]
    try:
        load_checkpoint(path)
        return "it was accepted"
    except LangJepaError as error:
        return "".join(loaded) or ("" if str(path) in str(error) else f"not named: {error}")
    except Exception as error:  # noqa: BLE001  (any other exception is a finding)
        return f"{type(error).__name__}: {error}"
    finally:
        torch.load = real


def main() -> int:
    """Flip bits, and count the refusals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random, failures = Random(options.seed), list[str]()
    with tempfile.TemporaryDirectory(prefix="flips-") as folder:
        made = Made.make(Path(folder))
        files = (made.encoder / LAST, made.decoder / DECODER_LAST, made.gpt / LAST)
        contents = [path.read_bytes() for path in files]
        for path in files:
            load_checkpoint(path)  # undamaged, they can be read
        for number in range(options.flips):
            path, content = files[number % 3], contents[number % 3]
            place, bit = random.randrange(len(content)), random.randrange(8)
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            said = refused(path)
            check(f"{path.parent.name}, byte {place}, bit {bit}", not said, said, failures)
            path.write_bytes(content)
    print(f"{options.flips - len(failures)} of {options.flips} refused")
    return bool(failures)


if __name__ == "__main__":
    raise SystemExit(main())
