"""Two hosts made of network namespaces and joined by a switch, for what is trained on several machines.

Needs root and iproute2, as making a namespace does. Files are those of this machine: a shared file system.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lang_jepa.training.metrics import STEP, read_metrics
from tiny import environment

LAUNCH = Path(__file__).parents[2] / "scripts" / "launch.sh"
TRAIN = "from lang_jepa.cli.app import main\nmain()\n"
CABLE = "cable"
"""Name of the network device on each host."""
Processes = list["subprocess.Popen[bytes]"]
"""What was started on each host."""


def ip(*arguments: str) -> str:
    """What iproute2 prints."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def why_not() -> str:
    """Why hosts cannot be made here; nothing where they can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and iproute2"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "network namespaces cannot be made here"


class Hosts:
    """Two hosts, numbered 0 and 1, and a switch that they are plugged into: another namespace, with a bridge."""

    def __init__(self) -> None:
        *self.names, self.switch = (f"lang-jepa-{os.getpid()}-{what}" for what in ("a", "b", "switch"))

    def make(self) -> None:
        """Join the two, which see nothing else."""
        self.remove()
        for name in (*self.names, self.switch):
            ip("netns", "add", name)
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        for number, name in enumerate(self.names):
            self.plug_in("netns", name, CABLE)
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", CABLE)
            for device in (CABLE, "lo"):
                ip("-n", name, "link", "set", device, "up")
        self.turn("up")

    def plug_in(self, *place_and_name: str) -> None:
        """Make a device whose cable leads to the switch."""
        *place, name = place_and_name
        port = f"port{len(json.loads(ip('-n', self.switch, '-j', 'link')))}"
        ip("link", "add", name, *place, "type", "veth", "peer", "name", port, "netns", self.switch)
        ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")

    def turn(self, state: str) -> None:
        """Turn the switch "up" or "down". Hosts do not notice: what they send is lost, and sent again ever later."""
        ip("-n", self.switch, "link", "set", "bridge", state)

    def remove(self) -> None:
        """Kill all that runs on the hosts, and remove them."""
        for name in (*self.names, self.switch):
            if subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=False).returncode == 0:
                self.send(name, signal.SIGKILL)
                ip("netns", "del", name)

    def train(self, folder: Path, *options: str, each: tuple[Mapping[str, str], ...] = ({}, {})) -> Processes:
        """scripts/launch.sh on both hosts: `lang-jepa train` with these options.

        Args:
            folder: of a script that is written.
            each: variables of each host's environment.
        """
        script = folder / "train.py"
        script.write_text(TRAIN)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return [
            subprocess.Popen(
                ["ip", "netns", "exec", name, LAUNCH, script, "1", "--nodes", "2", "--node", str(number), "--at",
                 "10.77.0.1:29511", "train", *options],
                env=environment({"GLOO_SOCKET_IFNAME": CABLE, "PATH": path, **each[number]}),
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            )
            for number, name in enumerate(self.names)
        ]  # fmt: skip

    def send(self, name: str, sign: signal.Signals) -> None:
        """A signal to all that runs on a host; the processes that torchrun starts are in sessions of their own."""
        for pid in ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), sign)

    def end(self, processes: Processes) -> None:
        """Kill what still runs."""
        for name, process in zip(self.names, processes, strict=True):
            self.send(name, signal.SIGKILL)
            process.communicate()


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Hosts that are there for a while.

    Raises:
        CalledProcessError: they cannot be made; `stderr` says why.
    """
    hosts = Hosts()
    try:
        hosts.make()
        yield hosts
    finally:
        hosts.remove()


def steps(folder: Path) -> float:
    """The last step of a run that was written down."""
    file = folder / "metrics.csv"
    return max((row[STEP] for row in read_metrics(file)), default=0) if file.is_file() else 0


def wait_for(folder: Path, step: int, processes: Processes, seconds: float = 120) -> None:
    """Until a run has made a step.

    Raises:
        AssertionError: one of its processes ended, or it took longer than this.
    """
    limit = time.monotonic() + seconds
    while steps(folder) < step:
        assert [process.poll() for process in processes] == [None, None], [p.communicate()[1] for p in processes]
        assert time.monotonic() < limit
        time.sleep(0.1)
