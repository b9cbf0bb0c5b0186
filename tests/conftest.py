"""A futures rehearsal server on its own thread, and what every module of tests begins with."""

import gc
from collections.abc import Iterator

import pytest

from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import Rest, Script, Skewed, make_server, running


@pytest.fixture(scope="module", autouse=True)
def engines_of_earlier_modules_are_dropped() -> None:
    """On the thread that made them: no thread that a test starts may drop objects of the engine."""
    gc.collect()


@pytest.fixture
def faults() -> Script:
    return Script()


@pytest.fixture
def clock() -> Skewed:
    return Skewed()


@pytest.fixture
def thread(faults: Script, clock: Skewed) -> Iterator[ServerThread]:
    with running(make_server(faults=faults, clock=clock)) as server:
        yield server


@pytest.fixture
def rest(thread: ServerThread) -> Iterator[Rest]:
    with Rest(thread.server.http_url) as client:
        yield client
