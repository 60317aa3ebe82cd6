"""datatrove's executors adapted to preparations. Imported only when tasks run, since datatrove is an optional extra."""

import io
import logging
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from typing import Any

from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.utils.logging import logger

from lang_jepa.data.corpus.workers import end_with_parent

_OWN = ("time", "partition", "qos", "env_command", "venv_path", "mem_per_cpu_gb", "cpus_per_task", "max_array_size")
"""Slurm options that datatrove has its own argument for; all others are passed to sbatch unchanged."""
RETRIES = 3
"""How often Ray retries a task whose worker or node was lost."""


class LocalExecutor(LocalPipelineExecutor):  # type: ignore[misc]
    """Run tasks in local processes. datatrove's own pool waits for ever for a task whose process was killed."""

    def run(self) -> None:
        """Run the unfinished tasks; the first error is raised once all have ended.

        Raises:
            BrokenProcessPool: a process was killed.
        """
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, end_with_parent) as pool:
            ended = [pool.submit(self.run_rank, rank) for rank in self.get_incomplete_ranks()]
        if errors := [error for one in ended if (error := one.exception())]:
            raise next((one for one in errors if not isinstance(one, BrokenProcessPool)), errors[0])

    def run_rank(self, rank: int) -> None:
        """Run a task, with its log lines going to its log file instead of the terminal."""
        with redirect_stderr(io.StringIO()):
            self._run_for_rank(rank)


class RayExecutor(LocalExecutor):
    """Run tasks on Ray, which retries those whose worker or node was lost.

    datatrove's own actors each fork a pool that waits for ever for a process that was killed.
    """

    def run(self) -> None:
        """Run the unfinished tasks; the first error is raised once all have ended."""
        import ray

        run = ray.remote(num_cpus=1, max_retries=RETRIES)(RayExecutor.run_rank)
        executor, running, errors = ray.put(self), list[Any](), list[Exception]()
        left = list(self.get_incomplete_ranks())
        while left or running:
            while left and len(running) < self.workers:
                running.append(run.remote(executor, left.pop(0)))
            done, running = ray.wait(running)
            try:
                ray.get(done)
            except ray.exceptions.RayError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def run_local(stage: dict[str, Any]) -> None:
    """Run the tasks in local processes."""
    LocalExecutor(**stage).run()


def run_on_ray(stage: dict[str, Any]) -> None:
    """Run the tasks on the cluster at RAY_ADDRESS, or on a temporary one started on this machine."""
    import ray

    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS")
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        RayExecutor(**stage).run()
    finally:
        if started:
            ray.shutdown()


def submit_to_slurm(stages: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> None:
    """Write a script for each stage and submit them all; each waits for the one before it."""
    own: dict[str, Any] = {name: options[name] for name in _OWN if name in options}
    own["sbatch_args"] = {name: value for name, value in options.items() if name not in own}
    last = None
    for stage in stages:
        name = f"lang-jepa-{stage['pipeline'][0].job}"
        last = SlurmPipelineExecutor(**stage, **own, job_name=name, depends=last)
    assert last is not None
    last.run()


logger.remove()  # only in this process; tasks log to files

RUN: dict[str, Callable[[dict[str, Any]], None]] = {"local": run_local, "ray": run_on_ray}
