"""Processes started by `srun`: Slurm's environment variables translated to those of torchrun."""

import re
from collections.abc import Mapping

from lang_jepa.errors import LangJepaError

_FIRST_PORT, _PORTS = 20_000, 10_000


def tasks_of(environment: Mapping[str, str]) -> int:
    """Return the number of processes in this job step; 1 if Slurm started one or none."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS")
    if tasks is None and "SLURM_PROCID" in environment:  # in a job's shell SLURM_NTASKS is only the number requested
        tasks = environment.get("SLURM_NTASKS")
    return int(tasks) if tasks is not None and tasks.isdecimal() else 1


def as_torchrun(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that torchrun would have set, if `srun` started several processes and torchrun none.

    The processes meet at the first host of the step, at a port derived from the job and step IDs, unless MASTER_ADDR
    and MASTER_PORT are set.

    Raises:
        LangJepaError: variables of Slurm are missing, or the machines have different numbers of tasks.
    """
    tasks = tasks_of(environment)
    if tasks == 1 or "WORLD_SIZE" in environment:
        return {}
    wanted = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
    if missing := [name for name in wanted if name not in environment]:
        raise LangJepaError(
            f"Slurm runs {tasks} tasks, but {', '.join(missing)} is not set: start them with srun, or with torchrun "
            "--nproc-per-node=N in one task a machine"
        )
    counts = set(re.sub(r"\(x\d+\)", "", environment["SLURM_STEP_TASKS_PER_NODE"]).split(","))
    if len(counts) > 1:
        raise LangJepaError(
            f"Slurm runs {environment['SLURM_STEP_TASKS_PER_NODE']} tasks on the machines of this step, and the same "
            "number is needed on each: set --ntasks-per-node"
        )
    from lightning.fabric.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]

    number = int(environment.get("SLURM_JOB_ID", "0")) + int(environment.get("SLURM_STEP_ID", "0"))
    meeting = {
        "MASTER_ADDR": SLURMEnvironment.resolve_root_node_address(environment["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": str(_FIRST_PORT + number % _PORTS),
    }
    return {
        "WORLD_SIZE": str(tasks),
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": counts.pop(),
        **{name: value for name, value in meeting.items() if name not in environment},
    }
