"""One upstream and one server for the whole suite.

``FAULTS_WORKERS=2`` runs the suite against a server of two processes; ``1,2`` against both kinds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

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
def server(
    request: pytest.FixtureRequest, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server that most tests share."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, workers=request.param, FAULTS_UPSTREAM=models.base_url) as started:
        yield started


@pytest.fixture
def key() -> str:
    """What tells the request of one test from all others."""
    return new_key()
