"""A rehearsal server, a trader on it, and a watchdog whose time is moved by hand, for its tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from live.rehearsal.futures.venue import Venue
from live.rehearsal.ports import RequestFault
from live.rehearsal.serving.auth import ApiKey
from live.rehearsal.serving.demo_keys import demo_keys
from live.rehearsal.serving.server import RehearsalServer, ServerThread
from live.venue.answers import AlgoOrder
from live.venue.client import VenueClient
from live.watchdog import WATCH_LIMITS
from live.watching.looking import Look, WatchSettings
from live.watching.watch import Watchdog
from tests.rehearsal_server import API, START_MS, Script, Skewed, running, spec

__all__ = ["ALGO", "BTC", "POSITIONS", "ROOT", "Scene", "client_of", "deeds", "keys", "scene_at", "server"]

D = Decimal
KEYS = demo_keys(7)
ROOT = Path(__file__).resolve().parents[1]
BTC = frozenset({"BTCUSDT"})
ALGO, ORDER, POSITIONS = API + "algoOrder", API + "order", "/fapi/v3/positionRisk"


class Hand:
    """A clock moved by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A server, a trader on it, and a watchdog whose time is moved by hand."""

    def __init__(self, thread: ServerThread, faults: Script, wall: Skewed | None = None) -> None:
        self.thread = thread
        self.faults = faults
        self.wall = wall or Skewed()
        self.blank = thread.call(thread.server.venue.snapshot)
        self.clock = Hand()
        self.trader = client_of(thread)
        self.dog: Watchdog | None = None

    def close(self) -> None:
        self.trader.close()
        if self.dog is not None:
            self.dog.client.close()

    def watching(self, **settings: Any) -> "Scene":
        settings = {"symbols": BTC, "grace_secs": 5.0} | settings
        self.dog = Watchdog(client_of(self.thread), WatchSettings(**settings), clock=self.clock)
        return self

    def look(self, after: float = 0.0) -> Look:
        assert self.dog is not None
        self.clock.now += after
        return self.dog.look()

    def fault(self, path: str, code: int, status: int = 400) -> None:
        body = json.dumps({"code": code, "msg": "as told"})
        self.faults.requests[path] = RequestFault("never", "canned", status=status, body=body)

    def place(self, path: str = ORDER, symbol: str = "BTCUSDT", **values: Any) -> None:
        self.trader.http.act("POST", path, {"symbol": symbol} | values)

    def buy(self, quantity: str = "0.01", side: str = "BUY") -> None:
        self.place(side=side, type="MARKET", quantity=quantity)

    def stop(self, trigger: str = "59000", side: str = "SELL", **values: Any) -> None:
        kind = {"algoType": "CONDITIONAL", "type": "STOP_MARKET", "workingType": "MARK_PRICE"}
        self.place(ALGO, side=side, triggerPrice=trigger, **(kind | (values or {"closePosition": True})))

    @property
    def amount(self) -> Decimal:
        return sum((position.amount for position in self.trader.positions()), D(0))

    @property
    def stops(self) -> list[AlgoOrder]:
        return list(self.trader.open_algo_orders("BTCUSDT"))


def client_of(thread: ServerThread, key: str = KEYS.hmac_key, secret: str = KEYS.hmac_secret) -> VenueClient:
    return VenueClient(thread.server.http_url, (SecretStr(key), SecretStr(secret)), WATCH_LIMITS)


def server(
    faults: Script | None = None, ring: tuple[ApiKey, ...] = KEYS.ring, wall: Skewed | None = None
) -> RehearsalServer:
    """A server that knows the demo keys."""
    venue = Venue([spec("BTCUSDT"), spec("ETHUSDT")], balances={"USDT": D(10_000)}, now_ms=START_MS)
    return RehearsalServer(venue, ring, faults=faults, clock=wall)


@contextmanager
def scene_at() -> Iterator[Scene]:
    """A scene on a server of its own."""
    faults, wall = Script(), Skewed()
    with running(server(faults, wall=wall)) as thread:
        made = Scene(thread, faults, wall)
        yield made
        made.close()


def keys(look: Look) -> list[str]:
    return [alarm.key for alarm in look.alarms]


def deeds(look: Look) -> list[str]:
    return [action.what for action in look.actions if not action.problem]
