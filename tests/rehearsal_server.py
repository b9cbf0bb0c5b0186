"""A rehearsal server with BTCUSDT and ETHUSDT for tests: keys, market events, a signing REST client."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import requests
import websocket
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from live.rehearsal.book import Depth, Kline, MarkPrice, Quote, Trade
from live.rehearsal.futures.venue import Venue
from live.rehearsal.ports import ConnectFault, Delivery, NoFaults, RequestFault
from live.rehearsal.serving.auth import ApiKey
from live.rehearsal.serving.server import RehearsalServer, ServerThread
from live.rehearsal.specs import BRACKETS, SymbolSpec

HMAC_KEY, SECRET = "hmacKey0123456789", "a-plain-secret"
ED_KEY = "edKey0123456789"
READ_KEY = "readOnlyKey0123456789"
START_MS = 1_754_600_400_000
D = Decimal
API = "/fapi/v1/"
ORDER = {"symbol": "BTCUSDT", "side": "BUY"}
LIMIT = ORDER | {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "59000"}
MARKET = ORDER | {"type": "MARKET", "quantity": "0.01"}
STOP = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL"}


def spec(symbol: str = "BTCUSDT") -> SymbolSpec:
    """The rules of August 2025: BTCUSDT's tick is 0.10 with two decimals, ETHUSDT's 0.01."""
    base = symbol.removesuffix("USDT")
    tick = {"BTC": D("0.10"), "ETH": D("0.01")}[base]
    return SymbolSpec(
        symbol=symbol,
        base=base,
        quote="USDT",
        margin_asset="USDT",
        tick=tick,
        min_price=D("39.86"),
        max_price=D("4529764"),
        price_precision=2,
        step=D("0.001"),
        min_quantity=D("0.001"),
        max_quantity=D("1000"),
        market_step=D("0.001"),
        market_min_quantity=D("0.001"),
        market_max_quantity=D("120"),
        quantity_precision=3,
        min_notional=D("20"),
        multiplier_up=D("1.05"),
        multiplier_down=D("0.95"),
        brackets=BRACKETS["major"],
    )


def ed25519_pair() -> tuple[str, str]:
    """A private key in PKCS#8 PEM and its public PEM; always the same one."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )


def sign_ed25519(text: str) -> str:
    """The base64 signature of `ed25519_pair`'s private key."""
    return base64.b64encode(
        Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign(text.encode())
    ).decode()


def sign_hmac(text: str, secret: str = SECRET) -> str:
    """The hexadecimal HMAC-SHA256 signature."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def keys() -> list[ApiKey]:
    """An HMAC key and an Ed25519 key that may trade, and one that may only read; all of account main."""
    return [
        ApiKey(key=HMAC_KEY, secret=SECRET),
        ApiKey(key=ED_KEY, public_pem=ed25519_pair()[1]),
        ApiKey(key=READ_KEY, secret=SECRET, may_trade=False),
    ]


def make_server(**options: Any) -> RehearsalServer:
    """10,000 USDT, maker 0.02 %, taker 0.05 %, leverage 20."""
    venue = Venue([spec("BTCUSDT"), spec("ETHUSDT")], balances={"USDT": D("10000")}, now_ms=START_MS)
    return RehearsalServer(venue, keys(), **options)


@contextmanager
def running(server: RehearsalServer | None = None) -> Iterator[ServerThread]:
    """A server on its own thread, with a first market: BTCUSDT 60000.0 x 60000.1, 5 each."""
    with ServerThread(server or make_server()) as thread:
        thread.feed([quote(), trade(), mark()])
        yield thread


def quote(
    bid: str = "60000.0",
    ask: str = "60000.1",
    size: str = "5",
    *,
    ask_size: str | None = None,
    at: int = 0,
    symbol: str = "BTCUSDT",
) -> Quote:
    """A quote `at` milliseconds after the start."""
    return Quote(START_MS + at, symbol, D(bid), D(size), D(ask), D(ask_size or size))


def depth(bids: list[tuple[str, str]], asks: list[tuple[str, str]], *, at: int = 0) -> Depth:
    """A book of several levels."""

    def side(pairs: list[tuple[str, str]]) -> tuple[tuple[Decimal, Decimal], ...]:
        return tuple((D(price), D(size)) for price, size in pairs)

    return Depth(START_MS + at, "BTCUSDT", side(bids), side(asks))


def trade(price: str = "60000.0", size: str = "0.5", *, at: int = 0, buyer_maker: bool = True) -> Trade:
    """A trade."""
    return Trade(START_MS + at, "BTCUSDT", D(price), D(size), buyer_maker)


def mark(price: str = "60000", *, at: int = 0) -> MarkPrice:
    """A mark price; the index is the same."""
    return MarkPrice(START_MS + at, "BTCUSDT", D(price), D(price), D("0.0001"), START_MS + 28_800_000)


def kline(minute: int, close: str = "60010", *, closed: bool = True, high: str = "60020") -> Kline:
    """The kline of a minute after the start: open 60000, low 59990, volume 2."""
    open_ms = START_MS + minute * 60_000
    return Kline(
        open_ms + 59_999 if closed else open_ms + 30_000,
        "BTCUSDT",
        "1m",
        open_ms,
        open_ms + 59_999,
        D("60000"),
        D(high),
        D("59990"),
        D(close),
        D("2"),
        D("120000"),
        10,
        D("1"),
        D("60000"),
        closed,
    )


class FixedClock:
    """The wall clock at the moment it was made, for counts that must not meet a minute's end."""

    def __init__(self) -> None:
        self._at_ms = time.time_ns() // 1_000_000

    def now_ms(self) -> int:
        """That moment."""
        return self._at_ms

    def request_ms(self) -> int:
        """That moment."""
        return self._at_ms


class Rest:
    """A bare REST client: signs like the documentation says and gives back status, body and headers."""

    def __init__(self, base: str, key: str | None = HMAC_KEY, secret: str = SECRET) -> None:
        self.base = base
        self.key = key
        self.secret = secret
        self.session = requests.Session()

    def __enter__(self) -> "Rest":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def send(self, method: str, path: str, query: str) -> tuple[int, Any, Mapping[str, str]]:
        """A request with this query string, exactly."""
        headers = {} if self.key is None else {"X-MBX-APIKEY": self.key}
        url = f"{self.base}{path}" + (f"?{query}" if query else "")
        with self.session.request(method, url, headers=headers, timeout=10) as answer:
            return answer.status_code, answer.json(), answer.headers

    def get(self, path: str, **params: Any) -> Any:
        """The body of an unsigned GET."""
        return self.send("GET", path, urlencode(params))[1]

    def signed(self, method: str, path: str, **params: Any) -> tuple[int, Any, Mapping[str, str]]:
        """A signed request, stamped now unless `timestamp` is given."""
        query = urlencode({"timestamp": time.time_ns() // 1_000_000} | params)
        return self.send(method, path, f"{query}&signature={sign_hmac(query, self.secret)}")

    def ask(self, method: str, path: str, **params: Any) -> Any:
        """The body of a signed request."""
        return self.signed(method, path, **params)[1]


class Script(NoFaults):
    """Faults as told: for the next requests of a path, for every message, for every connection."""

    def __init__(self) -> None:
        self.requests: dict[str, RequestFault] = {}
        self.message: Callable[[str, Any], list[Delivery]] | None = None
        self.connection: ConnectFault | None = None

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> RequestFault | None:
        del method, params
        return self.requests.pop(path, None)

    def on_message(self, stream: str, event: Any) -> list[Delivery]:
        return [Delivery(event)] if self.message is None else self.message(stream, event)

    def on_silence(self, stream: str) -> None:
        """Nothing is held back."""

    def on_connect(self, kind: str) -> ConnectFault | None:
        del kind
        return self.connection


class Skewed:
    """A clock that is `skew_ms` off the wall."""

    skew_ms = 0

    def now_ms(self) -> int:
        return now_ms() + self.skew_ms

    def request_ms(self) -> int:
        return now_ms() + self.skew_ms


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


@contextmanager
def socket(thread: ServerThread, path: str) -> Iterator[websocket.WebSocket]:
    """A WebSocket connection to a path of the server."""
    base = thread.server.ws_url.removesuffix("/ws")
    connected = websocket.create_connection(f"{base}{path}", timeout=10)
    try:
        yield connected
    finally:
        connected.shutdown()


def heard(connected: websocket.WebSocket, count: int = 1) -> list[Any]:
    """The next messages."""
    return [json.loads(connected.recv()) for _ in range(count)]


def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def orders_of(thread: ServerThread) -> int:
    """How many orders the venue has ever had."""
    return len(thread.call(lambda: thread.server.venue.all_orders("main", "BTCUSDT")))
