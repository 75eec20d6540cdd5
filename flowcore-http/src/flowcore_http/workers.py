"""Several processes: what they need, and what they share.

gunicorn starts, watches and ends them, see :mod:`flowcore_http.arbiter`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from flowcore import ConfigError, FlowApp
from flowcore_http.extras import how_to_install
from flowcore_http.settings import HttpSettings

_MAX_TEMPORARY = 72
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

logger = logging.getLogger("flowcore.http.workers")


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
            f"{wish}: several processes need gunicorn; "
            f"run: {how_to_install('workers')}; or leave http.workers out",
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
    from flowcore_http.arbiter import supervise  # noqa: PLC0415 - loads gunicorn and the server
    from flowcore_http.listener import listen  # noqa: PLC0415
    from flowcore_http.servers import server_of  # noqa: PLC0415

    server = server_of(settings)
    if threading.active_count() > 1:
        logger.warning(
            "threads run already, started when something was imported; the workers will not have "
            "them: %s",
            ", ".join(thread.name for thread in threading.enumerate()[1:]),
        )
    with listen(settings) as sock, _shared_folder() as folder:
        supervise(app, settings, server, sock, folder)


@contextmanager
def _shared_folder() -> Generator[Path]:
    """Make a folder that only this user can enter, for the sockets and metrics of the processes."""
    import fcntl  # noqa: PLC0415 - not on Windows

    folder = _make_folder()
    owner = os.getpid()
    fd = os.open(folder, os.O_RDONLY)
    try:
        # What cleans folders for temporary files passes over those that are locked.
        fcntl.flock(fd, fcntl.LOCK_SH)
        with _metrics_in(folder / "metrics"):
            yield folder
    finally:
        os.close(fd)
        # Processes that were forked pass here too.
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path:
    try:
        temporary = tempfile.gettempdir()
        # The path of a Unix socket has at most 103 characters on some systems.
        short = temporary if len(temporary) < _MAX_TEMPORARY else "/tmp"  # noqa: S108
        return Path(tempfile.mkdtemp(prefix="flowcore-", dir=short))
    except OSError as error:
        raise ConfigError(
            f"several workers need a folder for temporary files: {error}; set TMPDIR"
        ) from None


@contextmanager
def _metrics_in(folder: Path) -> Generator[None]:
    """Have prometheus-client keep the metrics of all processes in a folder."""
    if _METRICS_VARIABLE in os.environ:
        yield
        return
    folder.mkdir()
    os.environ[_METRICS_VARIABLE] = str(folder)
    if "prometheus_client" in sys.modules:
        # Somebody has imported it; it has decided for one process then.
        from prometheus_client import values  # noqa: PLC0415

        values.ValueClass = values.get_value_class()  # pyright: ignore[reportUnknownMemberType]
    try:
        yield
    finally:
        del os.environ[_METRICS_VARIABLE]
