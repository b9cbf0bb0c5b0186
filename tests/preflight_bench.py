"""A rehearsal server with history, a run file for it, and what the preflight command says, for its tests."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pydantic import SecretStr

from actors.state_file import StateFile
from configs.console import run_app
from live.preflight import CHECKS, app
from live.rehearsal.futures.venue import Venue
from live.rehearsal.ports import RequestFault
from live.rehearsal.serving.auth import ApiKey
from live.rehearsal.serving.demo_keys import demo_keys
from live.rehearsal.serving.server import RehearsalServer, ServerThread
from live.venue.client import VenueClient
from strategies.entries import PendingEntry
from strategies.memory import TradeMemory
from strategies.values import Approved
from tests.rehearsal_server import API, START_MS, Script, Skewed, kline, running, spec

__all__ = ["ADDED", "KEYS", "OWN", "RUN", "Bench", "Command", "Result", "Row", "bench_at", "command_of"]

D = Decimal
KEYS = demo_keys(7)
OWN = "x-aHRE4BCj-R00-mi1a2b3c-1E0"  # an entry of a node: the adapter's mark, then the strategy's name
ADDED = "x-aHRE4BCj-R00-mi1a2b3c-2A0"
RUN: dict[str, Any] = {
    "name": "checked",
    "data": {"bar": "1m", "start": "2025-01-01", "test_start": "2025-02-01", "end": "2025-03-01"},
    "strategies": [
        {
            "use": "momentum_leverage",
            "name": "momentum",
            "instrument": "BTCUSDT-PERP.BINANCE",
            "sizing": {"method": "risk", "risk_per_trade_pct": 0.5, "max_position_pct": 50.0},
            "stop": {"pct": 2.0},
        }
    ],
    "venue": {"leverage": 5.0},
}


class Row(NamedTuple):
    outcome: str
    found: str
    advice: str


class Bench:
    """A server with 400 minutes of history, a run file for it, and the command."""

    def __init__(self, thread: ServerThread, folder: Path, faults: Script, clock: Skewed) -> None:
        self.thread, self.folder, self.faults, self.clock = thread, folder, faults, clock
        self.venue = thread.server.venue
        self.run = json.loads(json.dumps(RUN))
        self.run["data"]["catalog"] = str(folder / "catalog")
        self.state = folder / "state"
        self.trader = VenueClient(
            thread.server.http_url, (SecretStr(KEYS.hmac_key), SecretStr(KEYS.hmac_secret))
        )

    @property
    def path(self) -> Path:
        path = self.folder / "run.yaml"
        path.write_text(yaml.safe_dump(self.run))
        return path

    def fault(self, path: str, body: Any, status: int = 200) -> None:
        self.faults.requests[path] = RequestFault("never", "canned", status=status, body=json.dumps(body))

    def place(self, path: str = "order", **values: Any) -> None:
        self.trader.http.act("POST", API + path, {"symbol": "BTCUSDT"} | values)

    def buy(self, name: str = "by-hand") -> None:
        self.place(side="BUY", type="MARKET", quantity="0.01", newClientOrderId=name)

    def remember(self, *, held: int, lots: int, since_ns: int = 0) -> None:
        """A state with a long entry of so many lots of 0.001, of which some have filled."""
        approved = Approved(1, lots * 0.001, 0.02, None, 0.5, 100.0, "risk", {})
        pending = PendingEntry(approved, (), lots, filled_lots=held)
        memory = TradeMemory(
            "BTCUSDT-PERP.BINANCE", held_lots=held, pending=pending, step_size=0.001, since=since_ns
        )
        StateFile(self.state / "trade-momentum.json", TradeMemory).write(memory)

    def remember_nothing_open(self) -> None:
        """A state of a node that has traded here and is flat."""
        memory = TradeMemory("BTCUSDT-PERP.BINANCE", step_size=0.001)
        StateFile(self.state / "trade-momentum.json", TradeMemory).write(memory)

    def stop(self, name: str) -> None:
        self.trader.place_close_stop("BTCUSDT", "SELL", D(59_000), name)


class Result(NamedTuple):
    code: int
    rows: dict[str, Row]

    @property
    def failures(self) -> list[str]:
        return [name for name, row in self.rows.items() if row.outcome == "failed"]


Command = Callable[..., Result]


@contextmanager
def bench_at(folder: Path, ring: tuple[ApiKey, ...] = KEYS.ring) -> Iterator[Bench]:
    """A bench whose server knows the keys of `ring`."""
    faults, clock = Script(), Skewed()
    venue = Venue(
        [spec("BTCUSDT"), spec("ETHUSDT")], balances={"USDT": D(10_000)}, now_ms=START_MS, leverage=5
    )
    server = RehearsalServer(venue, ring, faults=faults, clock=clock)
    server.load(kline(minute) for minute in range(-400, 0))
    with running(server) as thread:
        made = Bench(thread, folder, faults, clock)
        yield made
        made.trader.close()


def command_of(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command; its exit code and its rows."""
    monkeypatch.setenv("BINANCE_API_KEY", KEYS.hmac_key)
    monkeypatch.setenv("BINANCE_API_SECRET", KEYS.hmac_secret)

    def run(*options: str, venue: str = "rehearsal", base: str = "") -> Result:
        urls = {
            "http": base or bench.thread.server.http_url,
            "ws": "ws://127.0.0.1:9/ws",
            "ws_trading": "ws://127.0.0.1:9/api",
        }
        args = [str(bench.path), "--venue", venue, "--json", "--state", str(bench.state)]
        args += ["--set", "live.tolerances.free_gib=0"]
        args += [text for name, url in urls.items() for text in ("--set", f"live.base_url_{name}={url}")]
        with pytest.raises(SystemExit) as ended:
            run_app(app, [*args, *options])
        said = capsys.readouterr()
        assert said.out, said.err
        rows = {row["check"]: Row(*list(row.values())[1:]) for row in json.loads(said.out)["checks"]}
        assert list(rows) == list(CHECKS)
        assert all(bool(row.advice) == (row.outcome != "ok") for row in rows.values())
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, rows)

    return run
