"""Funding as it was settled is recorded with its mark price, once, also what a dead node has missed."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from nautilus_trader.model import BarType, FundingRateUpdate

from backtests.session import prepare
from catalog.columns import bar_type
from catalog.store import Catalog
from configs.schema import RecordConfig, RunConfig
from live.record import settlements
from live.record.audit_file import AuditFile
from live.record.recorder import Recorder
from live.record.recording import MarketWriter
from live.record.rows import RowFile
from live.record.settlements import Settlements
from live.rehearsal.book import Funding, MarkPrice
from live.rehearsal.futures.orders import OrderRequest
from live.rehearsal.serving.server import ServerThread
from live.venue.answers import FundingRate
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError
from tests.catalogs import BTC, HOUR_NS, JUNE, MINUTE_NS
from tests.hand_market import T0, columns, instrument, run_market
from tests.live_nodes import until

D = Decimal
MS = 1_000_000
EIGHT = T0 + 10 * MINUTE_NS  # 08:00 UTC


class Venue(VenueClient):
    """What it would answer, and what it was asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.rates: list[FundingRate] = []
        self.asked: list[int | None] = []
        self.error: VenueRequestError | None = None

    def funding_rates(self, symbol: str, since_ms: int | None = None) -> tuple[FundingRate, ...]:
        assert symbol == "BTCUSDT"
        self.asked.append(since_ms)
        if self.error is not None:
            raise self.error
        return tuple(rate for rate in self.rates if rate.funding_time >= (since_ms or 0))

    def settle(self, hour: int, rate: str, mark: str | None, late_ms: int = 7) -> None:
        time_ms = (JUNE + hour * HOUR_NS) // MS + late_ms
        self.rates.append(FundingRate(time_ms, D(rate), mark))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlements, "_AGAIN_SECS", 0.0)


@pytest.fixture
def venue() -> Iterator[Venue]:
    with Venue() as made:
        yield made


def answers(asker: Settlements, count: int) -> list[FundingRate]:
    """So many settlements, looked for as the recorder does it."""
    found: list[FundingRate] = []

    def look() -> bool:
        for name, rates in asker.take():
            assert name == BTC
            found.extend(rates)
        return len(found) >= count

    until(look, "the settlements")
    return found


def session(folder: Path, client: VenueClient, count: int) -> MarketWriter:
    """What a node records from its start on, until there are so many settlements."""
    made, asker = market(folder), Settlements(client)
    asker.ask(BTC)
    made.settle(BTC, answers(asker, count))
    asker.close()
    made.close()
    return made


def market(folder: Path) -> MarketWriter:
    return MarketWriter(folder, {BTC: instrument()}, "1m", RecordConfig())


def stored(folder: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Rates and mark prices by the hour after JUNE."""
    catalog = Catalog.open(folder)
    rates, marks = catalog.funding(BTC), catalog.mark(BTC, "1m")
    return tuple(  # type: ignore[return-value]
        [((ts - JUNE) // HOUR_NS, value) for ts, value in zip(each.ts_event.tolist(), values, strict=True)]
        for each, values in ((rates, rates.rate.tolist()), (marks, marks.close.tolist()))
    )


def test_settlements_are_stored_at_their_minute_with_their_mark_price(tmp_path: Path, venue: Venue) -> None:
    venue.settle(0, "0.00010000", "100123.45678901")
    venue.settle(4, "-0.00002500", "100000.00000000")  # some symbols settle every four hours
    venue.settle(8, "0.00000000", "", late_ms=-3)  # no mark price: old ones have none
    made = session(tmp_path, venue, 3)
    rates, marks = stored(tmp_path)
    assert rates == [(0, 0.0001), (4, -0.000025), (8, 0.0)]
    assert marks == [(0, 100123.45678901), (4, 100000.0)]
    assert Catalog.open(tmp_path).funding(BTC).ts_event.tolist() == [JUNE + h * HOUR_NS for h in (0, 4, 8)]
    assert (made.lost, list(made.problems)) == ("", [])


def test_what_was_settled_while_no_node_was_alive_is_there_after_the_next_start_and_nothing_twice(
    tmp_path: Path, venue: Venue
) -> None:
    venue.settle(0, "0.0001", "100000")
    session(tmp_path, venue, 1)
    venue.settle(8, "0.0002", "100800.5")  # dead
    venue.settle(16, "-0.0003", "101600.5")
    made = session(tmp_path, venue, 3)
    session(tmp_path, venue, 3)
    rates, marks = stored(tmp_path)
    assert rates == [(0, 0.0001), (8, 0.0002), (16, -0.0003)]
    assert marks == [(0, 100000.0), (8, 100800.5), (16, 101600.5)]
    assert list(made.problems) == []


def test_what_a_kill_has_left_in_the_journal_is_stored_once_and_what_it_cut_comes_again(
    tmp_path: Path, venue: Venue
) -> None:
    venue.settle(0, "0.0001", "100000")
    session(tmp_path, venue, 1)
    for kind, rows in (("funding", [(JUNE, 0.0001), (JUNE + 8 * HOUR_NS, 0.0002)]), ("mark", [])):
        left = RowFile(tmp_path / "journal" / BTC / f"{kind}-1.rows", kind)  # type: ignore[arg-type]
        left.append(rows)
        left.close()
    with (tmp_path / "journal" / BTC / "mark-1.rows").open("ab") as cut:
        cut.write(b"\x01\x02\x03")
    venue.settle(8, "0.0002", "100800.5")
    made = session(tmp_path, venue, 2)
    assert stored(tmp_path) == ([(0, 0.0001), (8, 0.0002)], [(0, 100000.0), (8, 100800.5)])
    assert list(tmp_path.rglob("*.refused")) == []
    assert list(made.problems) == []


def test_one_that_the_venue_does_not_tell_yet_is_asked_for_until_it_is_there(venue: Venue) -> None:
    venue.settle(0, "0.0001", "100000")
    asker = Settlements(venue)
    asker.ask(BTC, JUNE + 8 * HOUR_NS)
    assert len(answers(asker, 1)) == 1
    venue.settle(8, "0.0002", "100800")
    (late,) = answers(asker, 1)
    assert late.funding_rate == D("0.0002")
    count = len(venue.asked)
    for _ in range(3):
        assert list(asker.take()) == []
    assert len(venue.asked) == count
    assert venue.asked[0] is None
    assert set(venue.asked[1:]) == {JUNE // MS + 8}  # since the newest
    asker.close()


def test_one_that_the_start_has_found_already_is_not_waited_for(venue: Venue) -> None:
    venue.settle(8, "0.0001", "100000")
    asker = Settlements(venue)
    asker.ask(BTC)
    assert len(answers(asker, 1)) == 1
    asker.ask(BTC, JUNE + 8 * HOUR_NS)  # the stream goes on to the next one only now
    until(lambda: not list(asker.take()) and len(venue.asked) == 2 and not asker._asked, "the answer")
    assert list(asker.take()) == []
    assert len(venue.asked) == 2
    asker.close()


def test_a_venue_that_refuses_is_asked_again_and_an_operator_told_once(venue: Venue) -> None:
    venue.error = VenueRequestError("GET /fapi/v1/fundingRate", "answered 502", http_status=502)
    asker = Settlements(venue)
    asker.ask(BTC)
    until(lambda: not list(asker.take()) and len(venue.asked) >= 3, "several requests")
    assert [line.startswith(f"settlements of {BTC} are asked for again") for line in asker.problems] == [True]
    venue.settle(0, "0.0001", "100000")
    venue.error = None
    assert len(answers(asker, 1)) == 1
    asker.close()


def test_a_perpetual_that_has_never_settled_is_asked_about_once(venue: Venue) -> None:
    asker = Settlements(venue)
    asker.ask(BTC)
    until(lambda: not list(asker.take()) and not asker._asked, "the answer")
    assert list(asker.take()) == []
    assert venue.asked == [None]
    asker.close()


def test_a_replay_of_a_recording_pays_the_funding_of_the_venues_ledger(
    tmp_path: Path, thread: ServerThread
) -> None:
    """0.1 BTC held at 08:00, the mark price away from every bar's close."""
    server = thread.server
    stamp = EIGHT // MS
    buy = OrderRequest(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=D("0.1"))
    thread.call(lambda: server.venue.place("main", buy))
    thread.feed([MarkPrice(stamp - 1000, "BTCUSDT", D("60432.12345678"), D("60400"))])
    thread.feed([Funding(stamp + 4, "BTCUSDT", D("0.00012345"))])
    (paid,) = thread.call(lambda: server.venue.income("main", kind="FUNDING_FEE"))
    # 0.1 x 60,432.12345678 x 0.00012345 = 6,043.212345678 x 0.00012 + 6,043.212345678 x 0.00000345
    assert abs(paid.amount + D("0.72518548") + D("0.02084908")) < D("2e-8")

    rows = [(60_000.0, 60_001.0, 59_999.0, 60_000.0)] * 20
    made, bars = market(tmp_path), columns(rows)
    made.keep(BTC, bars)
    with VenueClient(server.http_url) as client:
        asker = Settlements(client)
        asker.ask(BTC)
        made.settle(BTC, answers(asker, 1))
        asker.close()
    made.close()

    inputs = prepare(_run(tmp_path), models_root=tmp_path / "models", quiet=True)
    plan = {3: [lambda strategy: strategy.market(0.1)]}
    simulation, _ = run_market(rows, plan, instrument(), funding=inputs.funding)
    (payment,) = simulation.payments().itertuples()
    assert payment.ts_event.value == EIGHT
    assert payment.mark_price == 60432.12345678
    assert payment.amount == pytest.approx(float(paid.amount), abs=1e-8)
    assert abs(payment.amount - 0.1 * 60_000 * -0.00012345) > 0.005  # what the bar's close would have given


def _run(catalog: Path) -> RunConfig:
    return RunConfig(
        name="replay",
        data={
            "catalog": str(catalog),
            "start": "2024-01-01T07:50",
            "test_start": "2024-01-01T07:51",
            "end": "2024-01-01T08:10",
        },
        strategies=[{"use": "momentum_leverage", "instrument": BTC}],
        venue={"funding": "required"},
    )


def test_mark_prices_of_settlements_count_before_those_by_eight_hours(tmp_path: Path) -> None:
    rows = [(60_000.0, 60_001.0, 59_999.0, 60_000.0)] * 20
    made = market(tmp_path)
    made.keep(BTC, columns(rows))
    made.settle(BTC, [FundingRate(EIGHT // MS, D("0.0001"), "60432.5")])
    made.close()
    catalog, price = Catalog.open(tmp_path), 59_000.0
    eight_hours = columns([(price, price, price, price, 0.0)], EIGHT - MINUTE_NS)
    catalog.write_mark(BTC, "8h", eight_hours)
    inputs = prepare(_run(tmp_path), models_root=tmp_path / "models", quiet=True)
    assert inputs.funding[BTC].mark_price.tolist() == [60432.5]


def test_a_recorder_asks_once_the_next_settlement_is_a_later_one(tmp_path: Path, venue: Venue) -> None:
    kind = BarType.from_str(bar_type(BTC, "1m"))
    made, audit, asker = market(tmp_path), AuditFile(tmp_path / "audit"), Settlements(venue)
    recorder = Recorder(audit, (kind,), market=made, settlements=asker)
    first, second = JUNE + 8 * HOUR_NS, JUNE + 16 * HOUR_NS
    venue.settle(8, "0.0004", "100800")  # as it was settled: not as it was said a second before
    for rate, due in [("0.0001", first), ("0.0003", first)]:
        recorder.on_funding_rate(_said(rate, due))
    recorder._look_at_settlements()
    assert venue.asked == []
    for rate, due in [("0.0002", second), ("-0.0004", second)]:
        recorder.on_funding_rate(_said(rate, due))

    def look() -> bool:
        recorder._look_at_settlements()
        return made.depth > 0 or bool(list(tmp_path.rglob("mark-*.rows")))

    until(look, "the settlement")
    asker.close()
    made.close()
    audit.close()
    assert stored(tmp_path) == ([(8, 0.0004)], [(8, 100800.0)])


def _said(rate: str, due: int) -> FundingRateUpdate:
    values = {"type": "FundingRateUpdate", "instrument_id": BTC, "rate": rate, "next_funding_ns": due}
    return FundingRateUpdate.from_dict(values | {"ts_event": JUNE, "ts_init": JUNE})
