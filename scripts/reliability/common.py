"""Shared by the reliability scripts: tiny systems, made once in a temporary folder."""

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "tests")]

from lang_jepa.training.methods.decoder import LAYOUT  # noqa: E402
from lang_jepa.training.train import train  # noqa: E402
from tiny import tiny_decoder, tiny_encoder, tiny_gpt, tiny_settings  # noqa: E402

DECODER_LAST = LAYOUT.last
__all__ = ["DECODER_LAST", "Made", "limit", "tiny_decoder", "tiny_gpt", "tiny_settings", "train"]


@dataclass(frozen=True, slots=True)
class Made:
    """Run directories of tiny systems."""

    encoder: Path
    decoder: Path
    gpt: Path

    @classmethod
    def make(cls, folder: Path) -> "Made":
        """Train an encoder for two steps, and a decoder and a GPT for six."""
        encoder = tiny_encoder(folder / "encoder")
        train(tiny_decoder(folder / "decoder").of(encoder))
        train(tiny_gpt(folder / "gpt"))
        return cls(encoder, folder / "decoder", folder / "gpt")


def limit(megabytes: int, seconds: int) -> None:
    """Limit this process's memory beyond what it has mapped now, and its processor time from now on."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bytes_now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (bytes_now + megabytes * 2**20,) * 2)
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, spent + seconds + 1))


def check(name: str, done: bool, detail: str, failures: list[str]) -> None:
    """Report an attempt that went wrong."""
    if not done:
        failures.append(name)
        print(f"  {name}: {detail}", flush=True)
