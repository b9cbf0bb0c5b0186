"""What the venue has booked of a trade: forced orders told apart, the insurance fund's part, other fees."""

from collections.abc import Sequence
from concurrent.futures import Future
from decimal import Decimal
from typing import Any

import msgspec
from pydantic import SecretStr

from live.rehearsal.futures.venue import Venue
from live.rehearsal.serving.server import ServerThread
from live.statements import clearing_rates, statement
from live.venue.answers import Clearance, Fill, OpenOrder
from live.venue.client import VenueClient
from strategies.forced import DELEVERAGED, LIQUIDATED
from strategies.results import Cleared, Closed, Results, VenueFill
from tests.rehearsal_server import HMAC_KEY, SECRET, START_MS, mark, quote

D = Decimal
MS = 1_000_000
RATES = {"BTCUSDT": D("0.0125")}
TAKER = D("0.0005")
BOUGHT = Fill(1, 70, "BUY", D(50_000), D("0.1"), D(0), D("2.5"), "USDT", 1_000)
SOLD = Fill(2, 71, "SELL", D(49_000), D("0.1"), D(-100), D("2.45"), "USDT", 2_000)


class Client:
    """Answers what it is given; `asked` are the questions."""

    def __init__(
        self,
        fills: Sequence[Fill] = (),
        forced: Sequence[OpenOrder] = (),
        booked: Sequence[Clearance] = (),
    ) -> None:
        self._fills, self._forced, self._booked = fills, forced, booked
        self.asked: list[Any] = []

    def fills(self, symbol: str, after: int, since_ns: int) -> Sequence[Fill]:
        self.asked.append((symbol, after, since_ns))
        return self._fills

    def forced_orders(self, symbol: str | None = None) -> Sequence[OpenOrder]:
        self.asked.append(f"forced {symbol}")
        return [order for order in self._forced if symbol in (None, order.symbol)]

    def clearances(self, since_ns: int) -> Sequence[Clearance]:
        self.asked.append(f"cleared {since_ns}")
        return self._booked


def forced(number: int, client_id: str, symbol: str = "BTCUSDT", at: int = 2_000) -> OpenOrder:
    return OpenOrder(symbol, number, client_id, "SELL", "LIMIT", D(49_000), D("0.1"), D("0.1"), at)


def told(client: Any, after: int = -1, since: int = 0) -> tuple[Sequence[VenueFill], Sequence[Cleared]]:
    return statement(client, "BTCUSDT", TAKER, RATES, after, since)


def test_fills_that_were_ours_cost_their_fees_and_the_income_is_not_asked_for() -> None:
    client = Client([BOUGHT, SOLD])
    fills, cleared = told(client, 0, 5)
    assert fills == [
        VenueFill(1, D("0.1"), D(0), D("2.5"), 1_000 * MS, 70),
        VenueFill(2, D("-0.1"), D(-100), D("2.45"), 2_000 * MS, 71),
    ]
    assert (client.asked, cleared) == ([("BTCUSDT", 0, 5), "forced BTCUSDT"], ())
    assert told(Client()) == ((), ())


def test_a_fee_in_another_currency_counts_as_the_takers() -> None:
    paid = msgspec.structs.replace(BOUGHT, commission=D("0.004"), commission_asset="BNB")
    ((fill,), _) = told(Client([paid]))
    assert fill.fee == D("2.5")  # 5,000 x 0.05 %


def test_a_liquidation_is_known_by_its_order_with_the_most_that_clearing_costs() -> None:
    booked = [
        Clearance("BTCUSDT", D("-61.25"), "USDT", 2_001),
        Clearance("ETHUSDT", D("-5"), "USDT", 2_001),
        Clearance("BTCUSDC", D("-7"), "USDC", 2_001),
    ]
    client = Client([BOUGHT, SOLD], [forced(71, "autoclose-1596107620040000020")], booked)
    fills, cleared = told(client)
    # 4,900 x 1.25 %
    assert [(f.forced, f.clearing) for f in fills] == [("", 0), (LIQUIDATED, D("61.25"))]
    assert cleared == [Cleared(D("-61.25"), 2_001 * MS)]
    assert client.asked[1:] == ["forced BTCUSDT", f"cleared {2_000 * MS}"]


def test_deleveraging_is_known_and_costs_no_clearing() -> None:
    client = Client([BOUGHT, SOLD], [forced(71, "adl_autoclose")])
    fills, cleared = told(client)
    assert [(f.forced, f.clearing) for f in fills] == [("", 0), (DELEVERAGED, 0)]
    assert (cleared, len(client.asked)) == ((), 2)


def test_what_the_fund_gives_to_the_whole_account_counts_where_nobody_else_can_claim_it() -> None:
    order, given = forced(71, "autoclose-1"), Clearance("", D(30), "USDT", 2_000)
    assert told(Client([BOUGHT, SOLD], [order], [given]))[1] == [Cleared(D(30), 2_000 * MS)]
    older = forced(60, "autoclose-0", "ETHUSDT", at=1_999)
    assert told(Client([BOUGHT, SOLD], [order, older], [given]))[1] == [Cleared(D(30), 2_000 * MS)]
    other = forced(72, "autoclose-2", "ETHUSDT")
    assert told(Client([BOUGHT, SOLD], [order, other], [given]))[1] == []
    taken = Clearance("", D(-30), "USDT", 2_000)
    assert told(Client([BOUGHT, SOLD], [order, other], [taken]))[1] == [Cleared(D(-30), 2_000 * MS)]


def test_what_the_fund_has_booked_is_asked_for_from_the_whole_second_on() -> None:
    client = Client([BOUGHT, msgspec.structs.replace(SOLD, time=2_700)], [forced(71, "autoclose-1")])
    told(client)
    assert client.asked[-1] == f"cleared {2_000 * MS}"


def test_clearing_rates_are_the_venues_own(thread: ServerThread) -> None:
    with client_of(thread) as client:
        rates = clearing_rates(client.raw_exchange_info())
    assert rates == {"BTCUSDT": D("0.0125"), "ETHUSDT": D("0.0125")}
    assert clearing_rates(b'{"symbols": [{"symbol": "BTCUSDT"}]}') == {"BTCUSDT": 0}


def client_of(thread: ServerThread) -> VenueClient:
    return VenueClient(thread.server.http_url, (SecretStr(HMAC_KEY), SecretStr(SECRET)))


def test_a_liquidation_at_the_venue_is_told_to_the_cent(thread: ServerThread) -> None:
    """0.01 of a bitcoin at 60,000.1 and 40 USDT; the book goes to 56,250."""
    venue: Venue = thread.server.venue
    with client_of(thread) as client:
        client.set_leverage("BTCUSDT", 20)
        thread.call(lambda: venue.transfer("main", "USDT", D(-9_960)))
        entry: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": D("0.01")}
        client.http.act("POST", "/fapi/v1/order", entry)
        thread.feed([quote("56250.0", "56250.1", at=10), mark("56250", at=11)])
        assert client.positions() == ()
        booked = statement(client, "BTCUSDT", TAKER, {"BTCUSDT": D("0.0125")}, -1, START_MS * MS)
    assert [fill.forced for fill in booked.fills] == ["", LIQUIDATED]
    # lost 0.01 x 3,750.1 = 37.501; fees 600.001 and 562.5 x 0.05 %: 0.3000005 and 0.28125
    # left 40 - 38.0822505 = 1.9177495, less than 562.5 x 1.25 % = 7.03125: the fund takes what there is
    assert [entry.amount for entry in booked.cleared] == [D("-1.9177495")]
    results = Results(lambda after, since: _done(booked))
    closed = Closed(side=1, risk=5.0, reason="stop", since=0, reckoned=-37.5)
    answers = [results.look(closed, step * 500 * MS) for step in range(12)]
    result = next(answer for answer in answers if answer is not None)
    assert (result.pnl, result.is_confirmed, result.forced) == (-40.0, True, LIQUIDATED)


def _done(value: Any) -> Any:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
