"""One upstream and one server for the whole suite.

``FAULTS_WORKERS=2`` runs the suite against a server of two processes; ``1,2`` against both kinds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.models import Models
from tests.faults.server import Server, new_key, running

WORKERS = [int(number) for number in os.environ.get("FAULTS_WORKERS", "1").split(",")]


@pytest.fixture(scope="session")
def models() -> Iterator[Models]:
    """The scripted upstream."""
    upstream = Models()
    upstream.start()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="session", params=WORKERS, ids=lambda number: f"workers={number}")
def workers(request: pytest.FixtureRequest) -> int:
    """How many processes a server has."""
    return request.param


@pytest.fixture(scope="session")
def server(
    workers: int, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server that most tests share."""
    folder = tmp_path_factory.mktemp("server")
    variables = {
        "FAULTS_UPSTREAM": models.base_url,
        "FAULTS_UPSTREAM_TLS": models.url_without_tls,
    }
    with running(folder, workers=workers, **variables) as started:
        yield started


Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def start(workers: int, models: Models, tmp_path: Path) -> Start:
    """Return `start(*settings, **variables)`: a server of the test's own."""

    def begin(*settings: str, **variables: str) -> AbstractContextManager[Server]:
        variables = {"FAULTS_UPSTREAM": models.base_url, **variables}
        return running(tmp_path, *settings, workers=workers, **variables)

    return begin


@pytest.fixture
def key() -> str:
    """What tells the request of one test from all others."""
    return new_key()
