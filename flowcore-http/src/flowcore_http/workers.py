"""Several processes: what they need, and what they share.

gunicorn starts, watches and ends them, see :mod:`flowcore_http.arbiter`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from flowcore import ConfigError, FlowApp
from flowcore_http.settings import HttpSettings

_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def check_workers(app: FlowApp, settings: HttpSettings) -> None:
    """Check that as many processes can be had as are configured.

    Raises:
        ConfigError: If several are wanted on a system without ``fork``, or without gunicorn.
    """
    if settings.workers == 1:
        return
    where = app.config.origins.find(("http", "workers"))
    wish = f"http.workers: {settings.workers}"
    if not hasattr(os, "fork"):
        raise ConfigError(
            f"{wish}: this system, {sys.platform}, cannot fork processes; leave http.workers out, "
            "and start several services on ports of their own",
            where,
        )
    if importlib.util.find_spec("gunicorn") is None:
        raise ConfigError(
            f"{wish}: several processes need gunicorn; install flowcore-http[workers], or "
            "gunicorn>=27,<28",
            where,
        )


def run_workers(app: FlowApp, settings: HttpSettings) -> None:
    """Serve ``app`` in several processes until a signal comes; each opens it for itself.

    Raises:
        ConfigError: As for one process, and if several cannot be had.
        SystemExit: With code 130 after a second signal, with another one if processes end by
            themselves again and again, or one did not end in time. In a process that was forked,
            always.
    """
    check_workers(app, settings)
    with _shared_folder() as folder:
        # These load gunicorn, the server and, where the folder for metrics is known, the metrics.
        from flowcore_http.arbiter import supervise  # noqa: PLC0415
        from flowcore_http.connections import server_config  # noqa: PLC0415
        from flowcore_http.listener import listen  # noqa: PLC0415

        config = server_config(settings)
        with listen(settings) as sock:
            supervise(app, settings, config, sock, folder)


@contextmanager
def _shared_folder() -> Generator[Path]:
    """Make a folder that only this user can enter, for the sockets and metrics of the processes."""
    folder = Path(tempfile.mkdtemp(prefix="flowcore-"))
    owner = os.getpid()
    metrics = folder / "metrics"
    metrics.mkdir()
    own_metrics = _METRICS_VARIABLE not in os.environ
    if own_metrics:
        os.environ[_METRICS_VARIABLE] = str(metrics)
    try:
        yield folder
    finally:
        # Processes that were forked pass here too.
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)
            if own_metrics:
                del os.environ[_METRICS_VARIABLE]
