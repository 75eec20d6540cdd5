"""T5: from the command to the first answer."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from benchmarks.load import Load
from benchmarks.server import MeasurementError, Server
from benchmarks.task import Figure, Target

IMPORT_SECONDS = 60.0
_TIME = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


class Cold:
    """A start, with everything compiled and in the cache of the file system."""

    id = "T5"
    title = "cold: the import, and from the command to the first healthy answer"
    figures = (
        Figure("healthy", "to the first answer", "s", "lower"),
        Figure("import", "import", "s", "lower"),
    )
    reference = "fastapi"
    targets = (Target("healthy", 1.0), Target("import", 0.15))
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Time the import in a process of its own; the frame has timed the start."""
        code = _TIME.format(server.peer.imports)
        with load.cores.on(load.cores.server):
            done = subprocess.run(
                [str(server.python), "-c", code],
                capture_output=True,
                timeout=IMPORT_SECONDS,
                check=False,
            )
        if done.returncode:
            raise MeasurementError(f"the import failed: {done.stderr.decode()[-500:]}")
        return {
            "healthy": server.seconds_to_health,
            "import": float(done.stdout.split()[-1]),
        }


TASK = Cold()
