"""A preflight bench: what tests of preflight's checks begin with; `ring` may be replaced by a parameter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from live.rehearsal.serving.auth import ApiKey
from tests.preflight_bench import KEYS, Bench, Command, bench_at, command_of


@pytest.fixture
def ring() -> tuple[ApiKey, ...]:
    return KEYS.ring


@pytest.fixture
def bench(tmp_path: Path, ring: tuple[ApiKey, ...]) -> Iterator[Bench]:
    with bench_at(tmp_path, ring) as made:
        yield made


@pytest.fixture
def check(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return command_of(bench, capsys, monkeypatch)
