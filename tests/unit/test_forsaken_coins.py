"""Coins of a strategy that the run file does not have: a start is refused, and it is said what to do."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from actors.state_file import StateFile
from configs.load import load_run
from live.checks.report import Context, Remembered, Row, Setup
from live.checks.spot import SPOT_CHECKS
from live.operate.coin_books import book_of
from live.operate.roster import RosterBook, trade_path
from live.venue.spot_client import Order, SpotAccount, SpotClient, SpotRules
from live.venues import VenueKind
from strategies.entries import PendingEntry
from strategies.holdings import CoinFill, Coins
from strategies.memory import TradeMemory
from strategies.values import Approved
from tests.spot_nodes import spot_run_file

D = Decimal
BTC = "BTCUSDT.BINANCE"
_STEP = D("0.00001")
_APPROVED = Approved(1, 0.01, 0.02, None, 0.5, 100.0, "risk", {})


class _Venue(SpotClient):
    """BTC at 50,000 in an account that has one, and fills since the books were written."""

    def __init__(self, fills: Sequence[CoinFill] = ()) -> None:
        self._fills = fills

    def account(self) -> SpotAccount:
        return SpotAccount(can_trade=True)

    def raw_exchange_info(self) -> bytes:
        return json.dumps({"symbols": [{"symbol": "BTCUSDT", "baseAsset": "BTC"}]}).encode()

    def orders_open(self, symbol: str) -> tuple[Order, ...]:
        del symbol
        return ()

    def own_fills(self, symbol: str, after: int) -> list[CoinFill]:
        return [fill for fill in self._fills if symbol == "BTCUSDT" and int(fill.trade_id) > after]

    def rules(self, symbol: str) -> SpotRules:
        lots = (_STEP, _STEP, D(9_000), _STEP, D(100))
        return SpotRules(symbol, "BTC", "USDT", D("0.01"), *lots, D(5))

    def last_price(self, symbol: str) -> Decimal:
        del symbol
        return D(50_000)


def _fill(trade: int, quantity: str, *, is_buy: bool) -> CoinFill:
    return CoinFill(str(trade), is_buy, D(quantity), D(50_000), D(0), "USDT", trade)


def _check(
    folder: Path,
    fills: Sequence[CoinFill] = (),
    *,
    adopt: bool = False,
    expected: Mapping[str, Remembered] | None = None,
) -> Row:
    """The row for a run file whose strategy is called `renamed`."""
    setup = Setup(
        run=load_run(spot_run_file(folder, name="renamed")),
        kind=VenueKind.REHEARSAL,
        folder=folder,
        specs=dict,
        history_bars=lambda _: 0,
        adopt=adopt,
        expected=expected or {},
    )
    return SPOT_CHECKS["coins"](Context(setup, _Venue(fills)))


def _held(folder: Path, amount: str, *, opened: int = 1) -> None:
    book_of(folder, "momentum").write(Coins(BTC, amount=D(amount), opened=opened, last_trade=5))


def test_a_strategy_that_was_renamed_while_it_holds_coins_keeps_the_node_from_starting(
    tmp_path: Path,
) -> None:
    _held(tmp_path, "0.01")
    row = _check(tmp_path)
    assert row.outcome == "failed"
    assert row.found == "0.01 BTC are held by 'momentum', which the run file does not have"
    assert "call the strategy so again, or close its trade under that name" in row.advice


def test_who_adopts_is_warned(tmp_path: Path) -> None:
    _held(tmp_path, "0.01")
    row = _check(tmp_path, adopt=True)
    assert (row.outcome, "0.01 BTC" in row.found) == ("warned", True)


@pytest.mark.parametrize(("sold", "outcome"), [("0.01", "ok"), ("0.0095", "failed")])
def test_what_sold_since_is_not_held_any_more(tmp_path: Path, sold: str, outcome: str) -> None:
    _held(tmp_path, "0.01")
    fills = [_fill(5, "0.005", is_buy=False), _fill(6, sold, is_buy=False)]  # the first is in the book
    assert _check(tmp_path, fills).outcome == outcome


@pytest.mark.parametrize(("amount", "opened"), [("0.00009", 1), ("0.00009", 0), ("0.2", 0)])
def test_dust_and_what_is_left_of_a_trade_that_is_over_keep_nothing_from_starting(
    tmp_path: Path, amount: str, opened: int
) -> None:
    _held(tmp_path, amount, opened=opened)
    assert _check(tmp_path).outcome == "ok"


def test_an_entry_that_nobody_has_heard_to_fill_counts(tmp_path: Path) -> None:
    _held(tmp_path, "0", opened=0)
    memory = TradeMemory(BTC, pending=PendingEntry(_APPROVED, (), 1000))
    StateFile(trade_path(tmp_path, "momentum"), TradeMemory).write(memory)
    assert _check(tmp_path).outcome == "ok"
    assert _check(tmp_path, [_fill(6, "0.01", is_buy=True)]).outcome == "failed"


def test_who_is_to_be_replaced_may_hold_coins(tmp_path: Path) -> None:
    _held(tmp_path, "0.01")
    assert _check(tmp_path, expected={"BTCUSDT": Remembered(1)}).outcome == "ok"


def test_who_came_by_a_command_is_known(tmp_path: Path) -> None:
    heir = load_run(spot_run_file(tmp_path))
    roster = RosterBook(tmp_path, load_run(spot_run_file(tmp_path, name="renamed")))
    roster.keep(roster.roster.add(heir.strategies, (), {}))
    _held(tmp_path, "0.01")
    assert _check(tmp_path).outcome == "ok"
