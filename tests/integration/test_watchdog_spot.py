"""The watchdog of spot against the rehearsal server: bare coins, a dead node, coins of somebody else."""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from actors.state_file import StateFile
from live.rehearsal.ports import RequestFault
from live.rehearsal.serving.server import ServerThread
from live.venue.spot_client import Order, SpotClient
from live.watchdog import SPOT_WATCH_LIMITS
from live.watching.coins import CoinWatchdog
from live.watching.looking import Look, WatchSettings
from strategies.holdings import Coins
from tests.rehearsal_server import HMAC_KEY, SECRET, Script
from tests.spot_server import make_spot_server, quote, spot_running, trade
from tests.watchdog_scene import BTC, Hand, deeds, keys

pytestmark = pytest.mark.slow  # sockets

D = Decimal
ORDER, LIST = "/api/v3/order", "/api/v3/orderList/oco"


class Scene:
    """A server, a hand that trades on it as a node would or as a stranger, and a watchdog."""

    def __init__(self, thread: ServerThread, faults: Script) -> None:
        self.thread, self.faults, self.clock = thread, faults, Hand()
        self.trader = self._client()
        self.dog: CoinWatchdog | None = None
        self._named = 0

    def _client(self) -> SpotClient:
        pair = SecretStr(HMAC_KEY), SecretStr(SECRET)
        return SpotClient(self.thread.server.http_url, pair, SPOT_WATCH_LIMITS)

    def close(self) -> None:
        self.trader.close()
        if self.dog is not None:
            self.dog.client.close()

    def watching(self, **settings: Any) -> "Scene":
        settings = {"symbols": BTC, "grace_secs": 5.0} | settings
        self.dog = CoinWatchdog(self._client(), WatchSettings(**settings), clock=self.clock)
        return self

    def look(self, after: float = 0.0) -> Look:
        assert self.dog is not None
        self.clock.now += after
        return self.dog.look()

    def name(self, letter: str) -> str:
        self._named += 1
        return f"00-mwq7m77i-{self._named}{letter}0"

    def place(self, path: str = ORDER, **values: Any) -> None:
        self.trader.http.act("POST", path, {"symbol": "BTCUSDT"} | values)

    def buy(self, quantity: str = "0.01", *, own: bool = True) -> None:
        named = {"newClientOrderId": self.name("E")} if own else {}
        self.place(side="BUY", type="MARKET", quantity=quantity, **named)

    def stop(self, quantity: str, trigger: str = "49000", *, own: bool = True) -> None:
        named = {"newClientOrderId": self.name("S")} if own else {}
        self.place(side="SELL", type="STOP_LOSS", quantity=quantity, stopPrice=trigger, **named)

    def offer(self, quantity: str) -> None:
        legs = {"aboveType": "LIMIT_MAKER", "abovePrice": "55000", "belowType": "STOP_LOSS"}
        names = {"aboveClientOrderId": self.name("T"), "belowClientOrderId": self.name("S")}
        self.place(LIST, side="SELL", quantity=quantity, belowStopPrice="49000", **legs, **names)

    def fault(self, path: str, code: int, status: int = 400) -> None:
        body = json.dumps({"code": code, "msg": "as told"})
        self.faults.requests[path] = RequestFault("never", "canned", status=status, body=body)

    @property
    def orders(self) -> list[Order]:
        return list(self.trader.orders_open("BTCUSDT"))

    @property
    def coins(self) -> Decimal:
        return self.trader.account().total("BTC")


@pytest.fixture
def scene() -> Iterator[Scene]:
    faults = Script()
    with spot_running(make_spot_server(usdt="1000000", btc="2", faults=faults)) as thread:
        made = Scene(thread, faults)
        yield made
        made.close()


@pytest.fixture
def beat(tmp_path: Path) -> Path:
    path = tmp_path / "heartbeat"
    path.touch()
    return path


def test_an_account_with_coins_of_others_is_quiet_and_so_are_covered_coins(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy("0.5", own=False)  # a person's
    assert scene.look() == Look((), (), (), None)
    scene.buy()
    scene.offer("0.00999")  # the fee was taken out of the coins
    for _ in range(3):
        look = scene.look(60)
        assert (look.alarms, look.actions) == ((), ())
    assert look.covers is not None
    assert [(c.amount, c.covered) for c in look.covers] == [(D("0.00999"), D("0.00999"))]


def test_bare_coins_are_an_alarm_and_nothing_is_done_unless_allowed(scene: Scene) -> None:
    scene.watching()
    scene.buy()
    assert keys(scene.look()) == []
    assert keys(scene.look(4.9)) == []
    look = scene.look(0.2)
    assert keys(look) == ["unprotected BTCUSDT"]
    assert "0.00999 held, bought at 50000.01, no stop" in look.alarms[0].text
    assert scene.look(100).actions == ()
    assert scene.orders == []
    assert scene.dog is not None
    assert scene.dog.unprotected_secs == {"BTCUSDT": pytest.approx(105.1)}


def test_bare_coins_get_one_stop_for_the_nodes_coins_alone(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    assert deeds(scene.look(5)) == ["stop placed"]
    (stop,) = scene.orders
    assert (stop.type, stop.side, stop.left) == ("STOP_LOSS", "SELL", D("0.00999"))  # of 2.00999
    assert stop.stop_price == D("48500")  # 3 % below 50000.00
    look = scene.look(5)
    assert (look.alarms, look.actions) == ((), ())


def test_a_strangers_stop_protects_the_strangers_coins_first(scene: Scene) -> None:
    scene.watching()
    scene.buy()
    scene.stop("2", own=False)  # of the 2 that were there before
    scene.look()
    assert "no stop" in scene.look(5).alarms[0].text


def test_a_target_alone_protects_nothing_and_makes_way_for_the_stop(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.place(
        side="SELL", type="LIMIT_MAKER", quantity="0.00999", price="55000", newClientOrderId=scene.name("T")
    )
    scene.place(
        side="SELL", type="LIMIT_MAKER", quantity="2", price="56000"
    )  # a person's: all else is locked
    scene.look()
    assert deeds(scene.look(5)) == ["stop placed"]
    assert sorted((o.type, o.left) for o in scene.orders) == [
        ("LIMIT_MAKER", D(2)),
        ("STOP_LOSS", D("0.00999")),
    ]


def test_dust_is_left_where_it_is(scene: Scene, beat: Path) -> None:
    scene.watching(protect=True, heartbeat=beat, flatten_after_secs=30.0)
    scene.buy("0.0002")
    scene.place(side="SELL", type="MARKET", quantity="0.00015", newClientOrderId=scene.name("X"))
    for after in (0, 10, 100, 100):  # 2.5 USDT are left, the venue takes 5
        assert scene.look(after).actions == ()


def test_a_stop_refused_three_times_sells_the_coins(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    for _ in range(3):
        scene.fault(ORDER, -1013)
        assert keys(scene.look(10)) == ["unprotected BTCUSDT", "action BTCUSDT"]
    assert deeds(scene.look(0.1)) == ["closed at the market"]
    assert scene.coins == D(2)
    assert scene.look(1).alarms == ()


def test_a_dead_nodes_list_is_taken_back_and_its_coins_are_sold(scene: Scene, beat: Path) -> None:
    scene.watching(heartbeat=beat, flatten_after_secs=30.0)
    scene.buy()
    scene.offer("0.00999")
    scene.place(side="SELL", type="LIMIT_MAKER", quantity="1", price="56000")  # a person's
    scene.look()
    assert scene.look(29).actions == ()
    look = scene.look(2)
    assert (keys(look), deeds(look)) == (["node"], ["closed at the market"])
    assert scene.coins == D(2)
    assert [order.left for order in scene.orders] == [D(1)]
    look = scene.look(1)
    assert (look.covers, look.actions, keys(look)) == ((), (), ["node"])


def test_a_sale_that_fails_leaves_a_stop(scene: Scene, beat: Path) -> None:
    scene.watching(heartbeat=beat, flatten_after_secs=30.0)
    scene.buy()
    scene.offer("0.00999")
    scene.look()

    def refuse_the_sale(client: SpotClient, symbol: str, quantity: Decimal, client_id: str) -> None:
        scene.fault(ORDER, -1003, 503)
        SpotClient.sell(client, symbol, quantity, client_id)

    assert scene.dog is not None
    client = scene.dog.client
    client.sell = lambda *values: refuse_the_sale(client, *values)  # type: ignore[method-assign]
    look = scene.look(31)
    assert "-1003" in look.actions[0].problem
    assert [(order.type, order.left) for order in scene.orders] == [("STOP_LOSS", D("0.00999"))]
    del client.sell  # type: ignore[attr-defined]
    assert deeds(scene.look(5)) == ["closed at the market"]
    assert scene.orders == []


def test_what_sold_meanwhile_is_not_sold_again(scene: Scene, beat: Path) -> None:
    scene.watching(heartbeat=beat, flatten_after_secs=30.0)
    scene.buy()
    scene.offer("0.00999")
    scene.look()
    scene.thread.feed([quote("48900", "48900.01", at=10), trade("48900", at=20)])  # the stop fires
    look = scene.look(31)
    assert (look.actions, scene.orders) == ((), [])
    assert scene.coins == D(2)


def test_the_nodes_book_says_what_the_list_of_trades_does_not(scene: Scene, beat: Path) -> None:
    """Bought longer ago than the venue tells: as far as the book says so, the coins are the node's."""
    book = Coins("BTCUSDT.BINANCE", amount=D("0.5"), paid=D(20_000), bought=D("0.5"), opened=1, last_trade=0)
    StateFile(beat.with_name("coins-momentum.json"), Coins).write(book)
    scene.watching(protect=True, heartbeat=beat)
    scene.look()
    assert deeds(scene.look(5)) == ["stop placed"]
    assert [order.left for order in scene.orders] == [D("0.5")]


def test_a_book_that_is_damaged_is_told_and_the_venue_alone_counts(scene: Scene, beat: Path) -> None:
    beat.with_name("coins-momentum.json").write_text("{")
    scene.watching(protect=True, heartbeat=beat)
    scene.buy()
    assert keys(scene.look()) == ["book BTCUSDT"]
    look = scene.look(5)
    assert deeds(look) == ["stop placed"]


def test_its_stop_steps_back_for_a_node_that_beats_again(scene: Scene, beat: Path) -> None:
    scene.watching(protect=True, heartbeat=beat)
    scene.buy()
    scene.look()
    assert deeds(scene.look(5)) == ["stop placed"]
    assert scene.look(5).actions == ()  # still silent
    os.utime(beat, ns=(1, 1))
    assert deeds(scene.look(1)) == ["left-over stop cancelled"]
    scene.offer("0.00999")  # the node's
    os.utime(beat, ns=(2, 2))
    for _ in range(3):
        assert scene.look(1).actions == ()


def test_its_stop_comes_back_and_stays_longer_where_the_node_does_nothing(scene: Scene, beat: Path) -> None:
    scene.watching(protect=True, heartbeat=beat)
    scene.buy()
    gone = []
    for second in range(100):
        os.utime(beat, ns=(second, second))  # it beats, and covers nothing
        if "left-over stop cancelled" in deeds(scene.look(3)):
            gone.append(3 * second)
    assert len(gone) == 3
    assert gone[2] - gone[1] > 5 * (gone[1] - gone[0])


def test_a_stop_of_a_killed_watchdog_is_found_and_goes_with_the_coins(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    scene.look(5)
    (stop,) = scene.orders
    assert scene.dog is not None
    scene.dog.client.close()
    scene.watching(protect=True)
    assert scene.look().actions == ()
    scene.place(
        side="SELL", type="MARKET", quantity="0.00999", newClientOrderId=scene.name("X")
    )  # others' coins
    assert deeds(scene.look(1)) == ["left-over stop cancelled"]
    assert (scene.orders, stop.left) == ([], D("0.00999"))


def test_a_lost_answer_is_not_repeated(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    scene.faults.requests[ORDER] = RequestFault("now", "drop")
    assert scene.look(5).actions[0].problem.startswith("network")
    assert scene.look(5).actions == ()
    assert len(scene.orders) == 1
