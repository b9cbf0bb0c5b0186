"""A stop before a start takes long: which position, at which level, by which name."""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nautilus_trader.adapters.binance import decode_binance_futures_client_order_id

from actors.state_file import StateFile
from configs.load import load_run
from configs.schema import RunConfig
from live.audit import AuditLine, check_lines, read_audit
from live.checks.known import _OWN_NAME
from live.first_cover import FirstCover
from live.record.audit_file import AuditFile
from live.sweeper import _OURS
from live.venue.answers import AlgoOrder, Position
from live.venue.errors import VenueRequestError
from strategies.entries import PendingEntry
from strategies.memory import TradeMemory
from strategies.open_trade import OpenTrade
from strategies.orders import STOP, Slot, slot_of
from strategies.trade import PlanState, Rung
from strategies.values import Approved
from tests.live_nodes import run_file

APPROVED = Approved(1, 0.5, 0.02, None, 0.5, 100.0, "risk", {})


class _Client:
    """What the venue has, and what is sent to it."""

    def __init__(self, positions: tuple[Position, ...] = (), orders: tuple[AlgoOrder, ...] = ()) -> None:
        self.held = positions
        self.orders = orders
        self.sent: list[tuple[str, str, Decimal, str]] = []
        self.asked = 0
        self.error: VenueRequestError | None = None
        self.before_sent: Callable[[], Any] = lambda: None

    @classmethod
    def of(cls, *_: Any) -> "_Client":
        raise AssertionError("nothing is remembered: nobody is asked")

    def positions(self) -> tuple[Position, ...]:
        self.asked += 1
        return self.held

    def open_algo_orders(self, symbol: str) -> tuple[AlgoOrder, ...]:
        return tuple(order for order in self.orders if order.symbol == symbol)

    def place_close_stop(self, symbol: str, side: str, price: Decimal, client_id: str) -> None:
        self.sent.append((symbol, side, price, client_id))
        self.before_sent()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Nothing is open."""


def _position(amount: str, *, symbol: str = "BTCUSDT", entry: str = "60000", mark: str = "60100") -> Position:
    names = {
        "symbol": symbol,
        "positionSide": "BOTH",
        "positionAmt": amount,
        "entryPrice": entry,
        "markPrice": mark,
        "liquidationPrice": "0",
        "notional": "0",
        "updateTime": 0,
    }
    return msgspec.convert(names, Position, strict=False)


def _stop(price: str, *, symbol: str = "BTCUSDT") -> AlgoOrder:
    return AlgoOrder(
        symbol=symbol,
        algo_id=1,
        client_algo_id="00-mk3x1abc-1S0",
        side="SELL",
        order_type="STOP_MARKET",
        algo_status="NEW",
        trigger_text=price,
        working_type="MARK_PRICE",
        close_position=True,
    )


def _run(folder: Path, memory: TradeMemory) -> RunConfig:
    StateFile(folder / "trade-momentum.json", TradeMemory).write(memory)
    return load_run(run_file(folder))


def _trade(side: int, stop_ticks: int) -> OpenTrade:
    return OpenTrade(APPROVED, PlanState(side, 600_000, stop_ticks, 3), (Rung(700_000, 5, 1.0, 0),), 1, 5)


def _memory(**more: Any) -> TradeMemory:
    return TradeMemory("BTCUSDT-PERP.BINANCE", tick_size=0.1, step_size=0.001, **more)


def _looked(
    folder: Path, memory: TradeMemory, client: _Client, monkeypatch: pytest.MonkeyPatch
) -> FirstCover:
    monkeypatch.setattr("live.first_cover.VenueClient.of", lambda *_: client)
    venue: Any = object()
    with FirstCover(_run(folder, memory), venue, folder) as cover:
        cover.look()
    return cover


def test_a_bare_position_gets_its_remembered_stop_by_a_name_of_its_strategy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Client((_position("0.5"),))
    _looked(tmp_path, _memory(trade=_trade(1, 588_123)), client, monkeypatch)
    [(symbol, side, price, sent_name)] = client.sent
    name = decode_binance_futures_client_order_id(sent_name)
    assert (symbol, side, price) == ("BTCUSDT", "SELL", Decimal("58812.3"))
    assert slot_of(name) == Slot(STOP)
    assert name.startswith("00-")
    assert len(sent_name) <= 36
    assert _OURS.fullmatch(name)
    assert _OWN_NAME.search(sent_name)


def _lines(folder: Path) -> list[AuditLine]:
    return [line for _, line in read_audit(folder) if line is not None]


def test_a_stop_is_in_the_audit_stream_before_it_is_sent_whatever_becomes_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, began = _Client((_position("0.5"),)), time.time_ns()
    known: list[AuditLine] = []
    client.before_sent = lambda: known.extend(_lines(tmp_path))  # killed here nothing else would be written
    client.error = VenueRequestError("POST /fapi/v1/algoOrder", "no answer")
    _looked(tmp_path, _memory(trade=_trade(1, 588_123)), client, monkeypatch)
    name = decode_binance_futures_client_order_id(client.sent[0][3])
    (line,) = known
    assert (line.kind, line.instrument) == ("action", "BTCUSDT-PERP.BINANCE")
    assert line.detail == {"action": "first_stop", "orders": {name: "stop"}, "price": 58812.3}
    assert began < line.ts <= line.wall < time.time_ns()


def test_the_lines_before_a_start_are_a_session_that_comes_before_the_nodes_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Client((_position("0.5"),))
    cover = _looked(tmp_path, _memory(trade=_trade(1, 588_123)), client, monkeypatch)
    file = AuditFile(tmp_path / "audit")
    cover.tell_to(file.put)
    cover.look()
    file.put({"kind": "node", "detail": {"what": "started"}})
    file.close()
    early, own = check_lines(read_audit(tmp_path)).sessions
    assert early.name < own.name
    assert (early.lines, early.is_ended, own.lines, own.lost) == (1, True, 2, 0)
    assert [line.detail.get("action") for line in _lines(tmp_path)] == ["first_stop", "first_stop", None]


def test_a_disk_that_refuses_keeps_no_stop_from_the_venue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "audit").write_text("in the way")
    client = _Client((_position("0.5"),))
    _looked(tmp_path, _memory(trade=_trade(1, 588_123)), client, monkeypatch)
    assert len(client.sent) == 1


def test_an_entry_under_way_that_has_filled_is_covered_at_its_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Client((_position("0.3", entry="60000.04"),))
    _looked(tmp_path, _memory(pending=PendingEntry(APPROVED, (), 500)), client, monkeypatch)
    assert [sent[:3] for sent in client.sent] == [("BTCUSDT", "SELL", Decimal("58800.0"))]


def test_a_short_is_covered_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _Client((_position("-0.5"),))
    _looked(tmp_path, _memory(trade=_trade(-1, 612_000)), client, monkeypatch)
    assert [sent[:3] for sent in client.sent] == [("BTCUSDT", "BUY", Decimal("61200.0"))]


@pytest.mark.parametrize(
    ("positions", "orders"),
    [
        ((_position("0.5"),), (_stop("58000"),)),  # covered
        ((), ()),  # closed meanwhile
        ((_position("-0.5"),), ()),  # not of this trade
        ((_position("0.5", symbol="ETHUSDT"),), ()),  # nobody's
    ],
)
def test_nothing_is_sent_for_what_is_covered_or_not_remembered(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    positions: tuple[Position, ...],
    orders: tuple[AlgoOrder, ...],
) -> None:
    client = _Client(positions, orders)
    _looked(tmp_path, _memory(trade=_trade(1, 588_000)), client, monkeypatch)
    assert client.sent == []
    assert client.asked == 1


def test_nobody_is_asked_when_nothing_is_remembered_or_nothing_may_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Client()
    _looked(tmp_path, _memory(flat_since=1), client, monkeypatch)
    with FirstCover(_run(tmp_path, _memory(trade=_trade(1, 588_000))), None, tmp_path) as cover:
        cover.look()
    assert client.asked == 0


def test_a_refusal_is_left_to_the_strategys_start_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Client((_position("0.5"),))
    client.error = VenueRequestError("POST /fapi/v1/algoOrder", "refuses", code=-2021, http_status=400)
    monkeypatch.setattr("live.first_cover.VenueClient.of", lambda *_: client)
    venue: Any = object()
    with FirstCover(_run(tmp_path, _memory(trade=_trade(1, 588_000))), venue, tmp_path) as cover:
        cover.look()
        cover.look()
    assert len(client.sent) == 2
    details = [line.detail for line in _lines(tmp_path)]
    assert [detail["action"] for detail in details] == ["first_stop", "first_stop_failed"] * 2
    assert "refuses" in details[1]["reason"]


def test_a_damaged_memory_is_no_reason_to_leave_others_bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path, _memory(trade=_trade(1, 588_000)))
    (tmp_path / "trade-momentum.json").write_text("half a fi")
    client = _Client((_position("0.5"),))
    monkeypatch.setattr("live.first_cover.VenueClient.of", lambda *_: client)
    venue: Any = object()
    with FirstCover(run, venue, tmp_path) as cover:
        cover.look()
    assert client.sent == []
