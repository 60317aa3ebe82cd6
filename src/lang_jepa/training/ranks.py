"""The processes of a run: how they start, notice each other's end, and exchange what all of them must know.

A process that hangs, dies or fails ends the others, wherever they are waiting. Collectives have a time limit of their
own, but processes also wait at file locks (for a corpus that one of them prepares) and for work that only the first
one does (exporting). So each process keeps incrementing its own key in the store at which they all met, and monitors
the keys of the others; `meet` waits at that store for as long as the others are alive.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, distributed

from lang_jepa.errors import LangJepaError, LostProcess, first_line
from lang_jepa.objectives.reduction import world_size

P = ParamSpec("P")
R = TypeVar("R")
LEAST_LIMIT = timedelta(minutes=5)
"""Smallest time limit for meeting at the start and for a collective: processes begin at different times."""
_GRACE = 10.0
"""Seconds that a process has to end by itself, with a better message, after it has heard of another's failure."""
_FAILED = b"failed"
"""Prefix of the last heartbeat of a process that ended with an error; its message may follow."""
_GO_ON = "The last checkpoint is unchanged: resume from it with --resume."


class Heartbeat:
    """Sends this process's heartbeat and monitors those of the others, each in a thread.

    Args:
        store: the torch.distributed store that all processes share.
        rank, world: rank of this process, and number of processes.
        seconds: time without a heartbeat after which another process counts as hung.
    """

    def __init__(self, store: Any, *, rank: int, world: int, seconds: float) -> None:
        self.store, self.rank, self.world, self.seconds = store, rank, world, seconds
        self.interval = min(5.0, seconds / 6)
        self.heard = dict.fromkeys(set(range(world)) - {rank}, time.monotonic())
        self.last = dict.fromkeys(self.heard, b"")
        self.lost: tuple[float, str] | None = None
        self._over = threading.Event()
        for target in (self._beat, self._supervise):
            threading.Thread(target=target, daemon=True).start()

    def meet(self, name: str) -> None:
        """Wait until every process is here, for as long as all of them are alive."""
        self.store.set(f"{name}/{self.rank}", "here")
        wait, names = 0.01, [f"{name}/{rank}" for rank in range(self.world)]
        while not self.store.check(names):
            time.sleep(wait)
            wait = min(2 * wait, 0.5)

    def end(self) -> None:
        """Stop together with the others; rank zero, which may host the store, leaves last."""
        self.meet("end")
        self._over.set()
        self.store.set(f"left/{self.rank}", "yes")
        names = [f"left/{rank}" for rank in range(self.world)]
        for _ in range(100 if self.rank == 0 else 0):
            if self.store.check(names):
                return
            time.sleep(0.02)

    def fail(self, why: str = "") -> None:
        """Stop and tell the others, whose messages will include `why`."""
        self._over.set()
        with suppress(RuntimeError):  # if the store is gone, the others hear nothing from this process
            self.store.set(str(self.rank), _FAILED + why.encode(errors="backslashreplace"))

    def failure(self) -> str:
        """Return a message about another process's failure; empty if none has reported one."""
        signs: dict[int, bytes] = {}
        with suppress(RuntimeError):  # the store may be gone
            for rank in self.last:
                if self.store.check([str(rank)]) and (sign := self.store.get(str(rank))).startswith(_FAILED):
                    signs[rank] = sign
        first = max(signs, key=lambda rank: len(signs[rank]), default=None)  # one that gives a reason
        return "" if first is None else _failed(first, signs[first])

    def _beat(self) -> None:
        """Send heartbeats and record those of the others; while the store does not answer, none are heard."""
        me = f"{os.getpid()} {_this_machine()}"
        for number in count():
            with suppress(RuntimeError):  # if the store is gone, `_supervise` ends the silence
                self.store.set(str(self.rank), f"{number} {me}")
                for rank, before in self.last.items():
                    if self.store.check([str(rank)]) and (now := self.store.get(str(rank))) != before:
                        self._heard(rank, now)
            if self._over.wait(self.interval):
                return

    def _heard(self, rank: int, sign: bytes) -> None:
        self.last[rank], self.heard[rank] = sign, time.monotonic()
        if sign.startswith(_FAILED):
            self._note(_failed(rank, sign))

    def _supervise(self) -> None:
        """End this process if another one is lost."""
        awake = time.monotonic()
        while not self._over.wait(self.interval):
            now = time.monotonic()
            if now - awake > 3 * self.interval:  # this process was itself suspended: ignore what it missed
                self.heard = dict.fromkeys(self.heard, now)
            awake = now
            for rank, heard in self.heard.items():
                sign = self.last[rank]
                if sign and not sign.startswith(_FAILED) and _is_gone(sign.decode()):
                    self._note(f"process {rank} has died")
                elif now - heard > self.seconds:
                    limit = f"{self.seconds:.0f} s (meta.timeout_minutes)"
                    self._note(f"no heartbeat from process {rank} for {limit}: it hangs", grace=0)
            if self.lost and now > self.lost[0]:
                _leave(self.rank, self.lost[1])

    def _note(self, what: str, grace: float = _GRACE) -> None:
        if self.lost is None:
            self.lost = (time.monotonic() + grace, what)


_current: Heartbeat | None = None
_numbers = count()


def start_heartbeat(*, rank: int, world: int, minutes: float) -> None:
    """Start sending heartbeats if there are other processes."""
    global _current
    if world == 1:
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        address, port, is_master=False, wait_for_workers=False, timeout=time_limit(minutes)
    )
    # Heartbeats must not mix with those of another run of these processes, or of their restart by torchrun.
    name = f"lang_jepa/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_numbers)}"
    own = distributed.PrefixStore(name, store)  # type: ignore[attr-defined]
    _current = Heartbeat(own, rank=rank, world=world, seconds=0.9 * 60 * minutes)  # before a collective gives up


def time_limit(minutes: float) -> timedelta:
    """Return how long a collective may wait."""
    return max(LEAST_LIMIT, timedelta(minutes=minutes))


def meet(name: str) -> None:
    """Wait until every process is here, for as long as all of them are alive; does nothing in a single process.

    Args:
        name: of the meeting point, used once in a run.
    """
    if _current is not None:
        with _readable_loss():
            _current.meet(name)


def end_together(train: Callable[P, R]) -> Callable[P, R]:
    """Make a training function end on all processes: if one of them fails, the others are told.

    Raises:
        LostProcess: raised by the wrapped function if another process is gone.
    """

    @wraps(train)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        global _current
        try:
            with _readable_loss():
                result = train(*args, **kwargs)
                if _current is not None:
                    _current.end()
        except BaseException as error:
            if _current is not None:
                known = isinstance(error, LangJepaError) and not isinstance(error, LostProcess)
                _current.fail(first_line(error)[:400] if known else "")
            raise
        finally:
            _current = None
        return result

    return wrapped


@contextmanager
def _readable_loss() -> Iterator[None]:
    """Replace torch's long message about a lost process by one line.

    Raises:
        LostProcess: another process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and not any(name in str(error) for name in ("gloo", "NCCL")):
            raise
        if failure := _current.failure() if _current is not None else "":
            raise LostProcess(f"{failure}. {_GO_ON}") from error
        raise LostProcess(
            f"another process of this run is gone, or does not answer. {_GO_ON} "
            f"torch says: {str(error).splitlines()[0][:200]}"
        ) from error


def _failed(rank: int, sign: bytes) -> str:
    """Describe the failure of a process for the messages of the others."""
    why = sign.removeprefix(_FAILED).decode().rstrip(".")
    return f"process {rank} has failed: {why}" if why else f"process {rank} has failed; its own message says why"


def _leave(rank: int, what: str) -> None:
    """End this process from a thread, because its main thread would wait for ever."""
    sys.stderr.write(f"\nerror in process {rank}: {what}. {_GO_ON}\n")
    sys.stderr.flush()
    os._exit(LostProcess.exit_code)


def _this_machine() -> str:
    """Identify the boot and PID namespace, shared by processes that see each other's PIDs; empty if not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _is_gone(sign: str) -> bool:
    """Whether the process that sent a heartbeat has ended, if it ran on this machine."""
    _, process, *machine = sign.split()
    if not machine or machine[0] != _this_machine():
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    return state in "ZX"


def agree(fabric: Any, predictions: int, stopping: bool) -> tuple[int, bool]:
    """Return all ranks' predictions, and whether any was asked to stop: one small reduction, and none on one rank."""
    if fabric.world_size == 1:
        return predictions, stopping
    numbers = torch.tensor([predictions, int(stopping)], device=fabric.device)
    distributed.all_reduce(numbers)
    return int(numbers[0]), bool(numbers[1])


def of_rank_zero(fabric: Any, number: float) -> float:
    """Return rank zero's number on all ranks."""
    if fabric.world_size == 1:
        return number
    sent = torch.tensor(number, dtype=torch.float64, device=fabric.device)
    distributed.broadcast(sent, 0)
    return float(sent)


def gather(own: Any) -> list[Any]:
    """Gather plain data from all ranks, in rank order."""
    if world_size() == 1:
        return [own]
    ranks: list[Any] = [None] * world_size()
    distributed.all_gather_object(ranks, own)
    return ranks


def generators(fabric: Any) -> list[Tensor | None]:
    """Return the state of this rank's generators: the CPU's, and the GPU's if it computes on one."""
    return [
        torch.get_rng_state(),
        torch.cuda.get_rng_state() if fabric.device.type == "cuda" else None,
    ]


def set_generators(state: list[Tensor | None]) -> None:
    """Restore the state returned by `generators`."""
    try:
        own, cuda = state
        if own is not None:
            torch.set_rng_state(own)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LangJepaError(f"the state of the random generators is damaged: {error}") from error


def launch(device: str, *, precision: str, timeout_minutes: float, strategy: str = "auto") -> Any:
    """Launch a Fabric for this process: alone, or as one of several (DDP, FSDP2; NCCL on GPUs, gloo on CPUs), which
    then starts sending heartbeats to the others.

    Args:
        device, strategy, timeout_minutes: as in `MetaSettings`.
        precision: `fp32` or `bf16`.

    Raises:
        LangJepaError: the processes compute in different precisions.
        LostProcess: the processes did not find each other.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import TorchElasticEnvironment  # type: ignore[attr-defined]
    from torch.distributed import DistError

    from lang_jepa.training.sharding import strategy_of

    world = int(os.environ.get("WORLD_SIZE", "1"))
    several = world > 1 or ("WORLD_SIZE" in os.environ and strategy != "auto")  # one rank of FSDP: benchmarks/gpu.py
    fabric = Fabric(
        accelerator=device,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=world // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        strategy=strategy_of(strategy, world, time_limit(timeout_minutes)) if several else "auto",
        plugins=[TorchElasticEnvironment()] if several else [],  # it reads only torchrun's variables
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )
    try:
        fabric.launch()
        start_heartbeat(rank=fabric.global_rank, world=fabric.world_size, minutes=timeout_minutes)
    except DistError as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise LostProcess(
            f"the {world} processes of this run did not find each other at {place} (MASTER_ADDR, MASTER_PORT) within "
            f"{time_limit(timeout_minutes)}"
        ) from error
    if len(found := set(gather(precision))) > 1:
        raise LangJepaError(
            f"meta.precision=auto is {' here and '.join(sorted(found))} there, because the machines of this run "
            "differ: set it to one of them"
        )
    return fabric
