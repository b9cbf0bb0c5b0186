"""A futures rehearsal server on its own thread, and what every module of tests begins with."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import Rest, Script, Skewed, make_server, running

# A machine that stalls for a while fails no property; and the same tree gives the same result wherever it is
# tested: new examples are looked for with `pytest --hypothesis-profile=search`.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("same")


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
