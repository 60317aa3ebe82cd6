"""Run everything on a small cluster, once undisturbed and once with a host killed, and compare weights, scores, files.

    python scripts/reliability/cluster.py [--seed N]

Texts lie in an object store (moto's S3 server), where Ray prepares a corpus of them. Two hosts (network namespaces on a
switch to which the store is also connected) train an encoder on the texts as a stream, with sharded weights
(`meta.strategy=fsdp`). At a random step one host is killed with SIGKILL and the run is resumed; then it is evaluated
and exported. Prints what differs, or that both are the same.

Needs Linux, root, iproute2, Ray, datatrove, s3fs and moto. Without them nothing is tried, and the exit code is 3.
"""

import argparse
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "distributed")]
os.environ["OMP_NUM_THREADS"] = "1"  # a different order of summation would round differently
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from hosts import Hosts, ip, two_hosts, wait_for, why_not  # noqa: E402

from lang_jepa.files.atomic import read_json  # noqa: E402
from tiny import TINY, assert_same_run, environment, write_parquet  # noqa: E402

NOT_RUN = 3
STEPS = 60
ADDRESS = "10.77.0.9"
"""Address of the store in the hosts' network."""
STORE = "lj-store"
"""Network device of this machine on which the store listens."""
SOURCE, CORPORA = "s3://texts/stories", "s3://texts/corpora"
_DATA = (f"data.train_file={SOURCE}", f"data.corpus_dir={CORPORA}", "data.val_fraction=0.2")
_RUN = (
    "data.streaming=true",
    "data.shuffle_buffer=12",
    "data.batch_size=2",
    "model.architecture=bert",
    "model.dropout=0.1",
    "meta.strategy=fsdp",
    f"optimization.max_steps={STEPS}",
    "logging.val_sentences=64",
    "logging.eval_freq=20",
    "logging.checkpoint_steps=8",
)
_IN_PARTS = "from lang_jepa.data.corpus import tasks\ntasks.SIZE = 20_000\nfrom lang_jepa.cli.app import main\nmain()\n"
"""`lang-jepa` with parts of a source of 20 kB instead of 64 MiB, so that there is something to divide among tasks."""


def main() -> int:
    """Return 0 if the run that lost a host produced the same as the other one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    draw = random.Random(seed := parser.parse_args().seed)
    missing = [name for name in ("ray", "datatrove", "s3fs", "moto") if find_spec(name) is None]
    if reason := why_not() or (f"not installed: {', '.join(missing)}" if missing else ""):
        print(f"nothing was tried: {reason}")
        return NOT_RUN
    step, number = draw.randint(10, STEPS - 10), draw.randint(0, 1)
    print(f"seed {seed}: host {number} is to be killed when step {step} is done", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="lang-jepa-cluster-") as scratch,
        two_hosts() as hosts,
        _store(hosts) as url,
    ):
        os.environ.update(_access(url), LANG_JEPA_CACHE=f"{scratch}/cache", RAY_ADDRESS="local")
        drill = Drill(Path(scratch), hosts)
        drill.prepare()
        whole, lost = drill.train("whole"), drill.train("lost", step, number)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(drill.use, (whole, lost)))
        different = list(compare(whole, lost))
    for problem in different:
        print(problem)
    print("failed" if different else "the same: checkpoints, metrics, model, scores, export")
    return bool(different)


@contextmanager
def _store(hosts: Hosts) -> Iterator[str]:
    """Start an S3 server that this machine and the hosts can reach; yield its URL."""
    from moto.server import ThreadedMotoServer

    hosts.plug_in(STORE)
    ip("addr", "add", f"{ADDRESS}/24", "dev", STORE)
    ip("link", "set", STORE, "up")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # do not log requests
    server = ThreadedMotoServer(ip_address=ADDRESS, port=0, verbose=False)
    server.start()
    try:
        yield f"http://{ADDRESS}:{server.get_host_and_port()[1]}"
    finally:
        server.stop()


def _access(url: str) -> Mapping[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Drill:
    """The steps of a run.

    Args:
        place: folder for everything, on a disk that all hosts see.
        hosts: the hosts, already set up.
    """

    def __init__(self, place: Path, hosts: Hosts) -> None:
        self.place, self.hosts, self.began = place, hosts, time.monotonic()
        self.corpus = Path()

    def say(self, what: str) -> None:
        """Print a line with the seconds since the beginning."""
        print(f"{time.monotonic() - self.began:5.0f} s  {what}", flush=True)

    def prepare(self) -> None:
        """Put texts into the store and let Ray prepare a corpus of them, also in the store."""
        from lang_jepa.data.sources import stores

        system = stores.system_of("s3")
        system.mkdir("texts")
        system.put(str(write_parquet(self.place / "texts", documents=240, files=4)), SOURCE, recursive=True)
        settings = _settings(*_DATA, "data.limit=null", "data.vocab_size=600")
        engine = ("--executor", "ray", "--tasks", "4", "--workers", "2")
        self._run(sys.executable, "-c", _IN_PARTS, "prepare", "concepts", *settings, *engine)
        (manifest,) = self.place.glob("cache/corpora/*/*/manifest.json")
        self.corpus = manifest.parent
        self.say(f"Ray has prepared {SOURCE}: {CORPORA}/{self.corpus.name}")

    def train(self, name: str, step: int | None = None, number: int = 0) -> Path:
        """Train on both hosts, kill host `number` after `step` if one is given and resume; return the run directory."""
        folder = self.place / name
        folder.mkdir()
        options = _settings(
            *_DATA, *_RUN, f"data.tokenizer_path={self.corpus}/tokenizer", f"logging.log_dir={folder}/run"
        )
        arguments = ["concepts", *options]
        if step is not None:
            both = self.hosts.train(folder, *arguments)
            wait_for(folder / "run", step, both)
            self.hosts.send(self.hosts.names[number], signal.SIGKILL)
            said = both[1 - number].communicate(timeout=120)[1].decode()
            self.hosts.end(both)
            self.say(f"killed; the other host: {[line for line in said.splitlines() if line.startswith('error')]}")
            arguments = [str(folder / "run"), "--resume"]
        both = self.hosts.train(folder, *arguments)
        said = [process.communicate(timeout=170)[1].decode() for process in both]
        if any(process.returncode for process in both):
            raise RuntimeError("\n".join(said))
        self.say(f"trained: {name}")
        return folder / "run"

    def use(self, run: Path) -> None:
        """Evaluate and export a run."""
        for command in (("evaluate", run, "--corpus", self.corpus), ("export", run, "export", "--license", "cc0-1.0")):
            self._run(sys.executable, "-m", "lang_jepa.cli", *command, cwd=run.parent)
            self.say(f"{command[0]}: {run.parent.name}")

    def _run(self, *command: str | Path, cwd: Path | None = None) -> None:
        ran = subprocess.run(
            command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=170
        )
        if ran.returncode:
            raise RuntimeError(f"{command}\n{ran.stdout}{ran.stderr}")


def _settings(*overrides: str) -> list[str]:
    tiny = [one for one in TINY if not one.startswith(("data.limit=", "data.vocab_size="))]  # for prepared data only
    return [part for one in (*tiny, *overrides) for part in ("-o", one)]


def compare(whole: Path, lost: Path) -> Iterator[str]:
    """Yield the differences between two runs, their scores and their exports."""
    try:
        assert_same_run(whole, lost)
    except AssertionError as difference:
        yield f"the runs differ: {difference}"
    one, other = (read_json(run / "scores.json", what="scores") for run in (whole, lost))
    if one != other:
        yield "the scores differ"
    exports = [run.parent / "export" for run in (whole, lost)]
    names = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in exports]
    if names[0] != names[1]:
        yield f"the exports have other files: {names[0] ^ names[1]}"
    for name in sorted(names[0] & names[1]):
        if (exports[0] / name).read_bytes() != (exports[1] / name).read_bytes():
            yield f"the exports differ in {name}"


if __name__ == "__main__":
    sys.exit(main())
