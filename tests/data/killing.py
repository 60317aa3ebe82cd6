"""A preparation in tasks in which a process is killed once: a worker, the driver, or the node of a Ray cluster.

Run as `killing.py SETTINGS ENGINE WHO FLAG STAGE UNIT`: it kills in that part of the source (STAGE is parts), before
that shard is written (shards) or when half of it is (half), unless the file FLAG is there, and leaves it.
"""

import os
import signal
import sys
from pathlib import Path

from lang_jepa.data.corpus import prepare as preparation
from lang_jepa.data.corpus import shard_tasks, tasks
from lang_jepa.data.corpus.decisions import decided
from lang_jepa.data.corpus.prepare import BlockSize
from lang_jepa.data.corpus.shard_tasks import WriteShards
from lang_jepa.data.corpus.shards import ShardWriter
from lang_jepa.data.corpus.tasks import Executor, ReadParts, part_file
from lang_jepa.data.sources import base
from lang_jepa.settings.data import DataSettings

SIZE = 2000
"""Bytes of a part."""
SHARD_TOKENS = 2000
"""Of a shard."""


def kill(stage: str, unit: int) -> None:
    """Kill who is to be killed, if it is the turn of this unit."""
    who, flag, when, first = os.environ["LANG_JEPA_KILL"].split(":")
    due = who != "nobody" and stage == when and unit >= int(first) and not Path(flag).exists()
    if due and who == "node":
        import ray

        due = ray.get_runtime_context().get_node_id() != Path(f"{flag}.head").read_text()
    if due:
        Path(flag).touch()
        os.kill(os.getpid() if who == "worker" else os.getppid(), signal.SIGKILL)


def note(partial: Path, unit: str) -> None:
    """Write down that a unit was done, or decisions made."""
    with (partial.parent / "made.txt").open("a") as file:
        file.write(f"{unit}\n")


class Killing(ReadParts):
    """Reads parts until it is the turn of the one in which somebody is killed."""

    def _do(self, number, step):
        kill("parts", number)
        super()._do(number, step)
        note(self.folder.parent, part_file(self.folder, number).name)


class KillingShards(WriteShards):
    """Writes shards until it is the turn of the one in which somebody is killed."""

    def decide(self, blocks):
        if not decided(blocks, self.decisions, self.shard_tokens):
            note(self.folder.parent, "decisions")
        super().decide(blocks)

    def _write(self, number, decisions):
        shard_tasks.ShardWriter = HalfWriter  # type: ignore[misc]  # of this process
        HalfWriter.number = number
        kill("shards", number)
        super()._write(number, decisions)
        note(self.folder.parent, f"shard {number}")


class HalfWriter(ShardWriter):
    """Kills when a shard has its first documents."""

    number = 0
    """Of the shard, sides counted through."""

    def append(self, block):
        super().append(block)
        if self._files:
            kill("half", self.number)


def main() -> None:
    settings, kind, who, flag, stage, unit = sys.argv[1:]
    os.environ["LANG_JEPA_KILL"] = f"{who}:{flag}:{stage}:{unit}"
    base.SIZE = tasks.SIZE = SIZE
    preparation.ReadParts, preparation.WriteShards = Killing, KillingShards  # type: ignore[attr-defined,misc]
    made = DataSettings.model_validate_json(settings)
    how = {"block_size": BlockSize(documents=7), "shard_tokens": SHARD_TOKENS, "executor": Executor(kind, 2)}
    if who != "node":
        preparation.prepare(made, **how)
        return
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False)
    Path(f"{flag}.head").write_text(ray.get_runtime_context().get_node_id())
    cluster.add_node(num_cpus=1)
    preparation.prepare(made, **how)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
