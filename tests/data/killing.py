"""A preparation in tasks in which a process is killed once: a worker, the driver, or the node of a Ray cluster.

Run as `killing.py SETTINGS ENGINE WHO FLAG PART`: it kills in that part unless the file FLAG is there, and leaves it.
"""

import os
import signal
import sys
from pathlib import Path

from lang_jepa.data.corpus import prepare as preparation
from lang_jepa.data.corpus import tasks
from lang_jepa.data.corpus.prepare import BlockSize
from lang_jepa.data.corpus.tasks import Executor, ReadParts, part_file
from lang_jepa.data.sources import base
from lang_jepa.settings.data import DataSettings

SIZE = 2000
"""Bytes of a part."""


class Killing(ReadParts):
    """Reads parts until it is the turn of the one in which somebody is killed."""

    def _do(self, number, step):
        who, flag, part = os.environ["LANG_JEPA_KILL"].split(":")
        due = who != "nobody" and number >= int(part) and not Path(flag).exists()
        if due and who == "node":
            import ray

            due = ray.get_runtime_context().get_node_id() != Path(f"{flag}.head").read_text()
        if due:
            Path(flag).touch()
            os.kill(os.getpid() if who == "worker" else os.getppid(), signal.SIGKILL)
        super()._do(number, step)
        with (self.folder.parent.parent / "made.txt").open("a") as file:
            file.write(f"{part_file(self.folder, number).name}\n")


def main() -> None:
    settings, kind, who, flag, part = sys.argv[1:]
    os.environ["LANG_JEPA_KILL"] = f"{who}:{flag}:{part}"
    base.SIZE = tasks.SIZE = SIZE
    preparation.ReadParts = Killing  # type: ignore[attr-defined]
    made = DataSettings.model_validate_json(settings)
    if who != "node":
        preparation.prepare(made, block_size=BlockSize(documents=7), executor=Executor(kind, 2))
        return
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False)
    Path(f"{flag}.head").write_text(ray.get_runtime_context().get_node_id())
    cluster.add_node(num_cpus=1)
    preparation.prepare(made, block_size=BlockSize(documents=7), executor=Executor(kind, 2))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
