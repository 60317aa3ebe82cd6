"""Two processes of this machine, started as torchrun would start them."""

import socket
import subprocess
import sys

from tiny import environment
from warm import Popen


def start_two_ranks(*arguments: str, slurm: bool = False) -> list["subprocess.Popen[bytes]"]:
    """Two ranks of `python` with these arguments, in warm processes; what they say is in their `stderr`.

    Args:
        slurm: started as srun would start them.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    of_slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_NAME": "train",
        "MASTER_PORT": str(port),
    }
    return [
        Popen(
            [sys.executable, *arguments],
            env=environment(
                {**of_slurm, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
                if slurm
                else {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            ),
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]


def run_on_two_ranks(code: str, *arguments: str, seconds: float = 180) -> None:
    """Run Python code on two ranks, and fail with what they said unless both end well, each within so many seconds."""
    ranks = start_two_ranks("-c", code, *arguments)
    try:
        errors = [rank.communicate(timeout=seconds)[1].decode() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
