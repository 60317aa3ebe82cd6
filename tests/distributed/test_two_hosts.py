"""Two hosts made of network namespaces, a process on each: they train one run, and one that is lost ends the other.

Needs root and iproute2, as making a namespace does.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from two_ranks import start_two_ranks

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.settings.load import save_settings
from lang_jepa.training.metrics import read_metrics
from tiny import environment, tiny_settings

ROOT = Path(__file__).parents[2]
HOSTS = (f"lang-jepa-{os.getpid()}-a", f"lang-jepa-{os.getpid()}-b")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _why_not() -> str:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and iproute2"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "network namespaces cannot be made here"


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[str, str]]:
    """Two namespaces that are joined by a cable and see nothing else."""
    try:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)
            ip("netns", "add", host)
        ip("link", "add", "ljcable0", "netns", HOSTS[0], "type", "veth", "peer", "name", "ljcable1", "netns", HOSTS[1])
        for number, host in enumerate(HOSTS):
            ip("-n", host, "addr", "add", f"10.77.0.{number + 1}/24", "dev", f"ljcable{number}")
            for device in (f"ljcable{number}", "lo"):
                ip("-n", host, "link", "set", device, "up")
    except subprocess.CalledProcessError as error:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)
        pytest.skip(f"hosts cannot be made here: {error.stderr.decode().strip()}")
    yield HOSTS
    for host in HOSTS:
        ip("netns", "del", host)


TRAIN = "from lang_jepa.cli.app import main\nmain()\n"


def start(hosts: tuple[str, str], folder: Path, *options: str) -> list["subprocess.Popen[bytes]"]:
    """scripts/launch.sh on both hosts."""
    (folder / "train.py").write_text(TRAIN)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return [
        subprocess.Popen(
            ["ip", "netns", "exec", host, ROOT / "scripts" / "launch.sh", folder / "train.py", "1", "--nodes", "2", "--node",
             str(number), "--at", "10.77.0.1:29511", "train", *options],
            env=environment({"GLOO_SOCKET_IFNAME": f"ljcable{number}", "PATH": path}),
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )
        for number, host in enumerate(hosts)
    ]  # fmt: skip


def kill(host: str) -> None:
    """Kill all that runs on a host; the processes that torchrun starts are in sessions of their own."""
    pids = subprocess.run(["ip", "netns", "pids", host], check=True, capture_output=True, text=True).stdout.split()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def end(processes: list["subprocess.Popen[bytes]"]) -> None:
    for host, process in zip(HOSTS, processes, strict=True):
        kill(host)
        process.wait()


def steps(folder: Path) -> float:
    file = folder / "metrics.csv"
    return max((row["train/step"] for row in read_metrics(file)), default=0) if file.is_file() else 0


def wait_for(folder: Path, step: int, processes: list["subprocess.Popen[bytes]"]) -> None:
    limit = time.monotonic() + 120
    while steps(folder) < step:
        assert [process.poll() for process in processes] == [None, None], [p.communicate()[1] for p in processes]
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_two_hosts_train_one_run(hosts: tuple[str, str], tmp_path: Path) -> None:
    """The weights are those of two processes of one host, also when the cable is out for a while."""
    long = ("optimization.max_steps=60", "logging.log_freq=1")
    for name in ("one", "two"):
        settings = tiny_settings(tmp_path / name, *long)
        prepare(settings.data)
        save_settings(settings, tmp_path / f"{name}.yaml")
    one = start_two_ranks("-m", "lang_jepa.cli", "train", str(tmp_path / "one.yaml"))
    errors = [rank.communicate(timeout=170)[1].decode() for rank in one]
    assert [rank.returncode for rank in one] == [0, 0], errors
    two = start(hosts, tmp_path, str(tmp_path / "two.yaml"))
    try:
        wait_for(tmp_path / "two", 5, two)
        ip("-n", hosts[0], "link", "set", "ljcable0", "down")
        time.sleep(4)
        stopped = steps(tmp_path / "two")
        assert stopped < 60
        ip("-n", hosts[0], "link", "set", "ljcable0", "up")
        errors = [process.communicate(timeout=170)[1].decode() for process in two]
    finally:
        end(two)
    assert [process.returncode for process in two] == [0, 0], errors
    saved, other = (torch.load(tmp_path / n / "checkpoint-last.pth", weights_only=True) for n in ("one", "two"))
    assert all(torch.equal(tensor, other["model"][name]) for name, tensor in saved["model"].items())


def test_a_host_that_is_killed_ends_the_other(hosts: tuple[str, str], tmp_path: Path) -> None:
    """And what is left goes on from the last checkpoint."""
    options = ("optimization.max_steps=400", "logging.log_freq=1", "logging.checkpoint_steps=5")
    settings = tiny_settings(tmp_path / "run", *options, "meta.timeout_minutes=0.15")
    prepare(settings.data)
    save_settings(settings, tmp_path / "run.yaml")
    both = start(hosts, tmp_path, str(tmp_path / "run.yaml"))
    try:
        wait_for(tmp_path / "run", 12, both)
        kill(hosts[1])
        said = both[0].communicate(timeout=100)[1].decode()
    finally:
        end(both)
    assert both[0].returncode == 1
    assert "error" in said
    assert "--resume" in said
    again = start(hosts, tmp_path, str(tmp_path / "run.yaml"), "--resume")
    try:
        wait_for(tmp_path / "run", 30, again)
    finally:
        end(again)
