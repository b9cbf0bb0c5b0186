"""Preflight of a node on paper, which has no account: what is checked, by which balance, whose state."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.risk_state import RiskMemory
from actors.state_file import StateFile
from configs.load import load_run
from live.checks.report import Remembered, Report, Setup
from live.paper import ACCOUNT_FILE, PaperMemory
from live.preflight import CHECKS, preflight
from live.venue.client import VenueClient
from live.venues import VenueKind
from tests.preflight_bench import Bench, bench_at

NEEDS_KEYS = ("keys", "permissions", "position mode", "margin type", "leverage")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_at(tmp_path) as made:
        yield made


def checked(bench: Bench, kind: VenueKind = VenueKind.PAPER, *, expected: dict[str, Remembered]) -> Report:
    overrides = ["live.tolerances.free_gib=0", "venue.starting_balance=20000"]
    setup = Setup(
        run=load_run(bench.path, overrides),
        kind=kind,
        folder=bench.state,
        specs=dict,
        history_bars=lambda _: 0,
        expected=expected,
    )
    if kind is not VenueKind.PAPER:
        return preflight(setup, bench.trader)
    with VenueClient(bench.thread.server.http_url) as client:
        return preflight(setup, client)


def keep(bench: Bench, total: str) -> None:
    StateFile(bench.state / ACCOUNT_FILE, PaperMemory).write(PaperMemory("USDT", total))


def test_what_needs_no_key_is_checked_and_sized_by_the_sandboxs_balance(bench: Bench) -> None:
    report = checked(bench, expected={})
    assert [row.check for row in report.rows] == [name for name in CHECKS if name not in NEEDS_KEYS]
    assert report.may_start  # no strategy of the run looks at features: no history is needed
    # 0.5 % of 20,000 at risk; a unit loses 60,000 x (2 % + 2 x 6 bp) = 1,272 at the stop: 0.0786
    assert "at most 0.078 BTCUSDT (4680.00)" in report.row("sizes").found
    keep(bench, "10000")
    assert "at most 0.039 BTCUSDT" in checked(bench, expected={}).row("sizes").found
    keep(bench, "0")
    spent = checked(bench, expected={})
    assert spent.failures == ("sizes", "balance")
    assert "begin anew" in spent.row("balance").advice


def test_a_position_that_the_sandbox_has_forgotten_is_told(bench: Bench) -> None:
    row = checked(bench, expected={"BTCUSDT": Remembered(-1)}).row("open")
    assert (row.outcome, row.found) == ("warned", "remembered, but not there any more: BTCUSDT short")
    assert "without a result" in row.advice


def test_paper_and_a_venue_share_no_state(bench: Bench) -> None:
    keep(bench, "10000")
    assert checked(bench, VenueKind.REHEARSAL, expected={}).failures == ("state",)
    assert checked(bench, expected={}).may_start
    (bench.state / ACCOUNT_FILE).unlink()
    StateFile(bench.state / "guard.json", RiskMemory).write(RiskMemory(account="BINANCE USDT"))
    assert checked(bench, expected={}).failures == ("state",)
    (bench.state / ACCOUNT_FILE).write_text("{}")
    assert checked(bench, expected={}).failures == ("sizes", "balance", "state")
