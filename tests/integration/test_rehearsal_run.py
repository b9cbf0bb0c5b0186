"""Whole rehearsals: the replay as clients see it, the control endpoint, and the command itself."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from binance.um_futures import UMFutures

from configs.console import run_app
from live.rehearsal.__main__ import app
from live.rehearsal.book import Kline, Trade
from live.rehearsal.market.feeds import CatalogFeed
from live.rehearsal.market.replay import MarketSettings, ReplayMarket
from live.rehearsal.store import encode
from tests.catalogs import JUNE, bars, catalog_with, funding
from tests.rehearsal_runs import START_MS, Client, feeds, plan, play, rehearsing, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock

ROOT = Path(__file__).parents[2]
MINUTE_MS = 60_000
STREAMS = ("btcusdt@aggTrade", "btcusdt@kline_1m", "btcusdt@bookTicker", "btcusdt@markPrice@1s")


async def heard(client: Client, *streams: str, minutes: int) -> list[Any]:
    """What a socket hears of so many minutes, stepped through."""
    ear = await client.hear(*streams)
    await until(lambda: client.session.server.hub.sockets)
    start = client.session.market_ms
    await client.session.step(minutes * 60)
    last = max(e["E"] for e in ear.heard) if ear.heard else start
    await until(lambda: ear.heard and max(e["E"] for e in ear.heard) >= start + (minutes * 60 - 2) * 1000)
    assert last >= start
    return ear.heard


# -- the replay ----------------------------------------------------------------------------------------------


def test_the_replay_is_on_the_streams_in_order() -> None:
    async def scenario() -> None:
        async with rehearsing(plan()) as client:
            messages = await heard(client, *STREAMS, minutes=5)
            assert [m["E"] for m in messages] == sorted(m["E"] for m in messages)
            told = [(m["T"], float(m["p"]), float(m["q"])) for m in messages if m["e"] == "aggTrade"]
            market = ReplayMarket(feeds("BTCUSDT"), MarketSettings())
            events = [e for e in market.next_events(START_MS + 305_000) if e.ts_ms > START_MS + 5_000]
            trades = [e for e in events if isinstance(e, Trade)]
            assert told == [(t.ts_ms, float(t.price), float(t.quantity)) for t in trades]
            closed = [m["k"] for m in messages if m["e"] == "kline" and m["k"]["x"]]
            bars_ = [e for e in events if isinstance(e, Kline) and e.closed]
            assert [(k["t"], float(k["c"]), float(k["v"])) for k in closed] == [
                (k.open_ms, float(k.close), float(k.volume)) for k in bars_
            ]
            assert len(closed) == 5

    play(scenario)


def test_the_same_seed_sends_the_same_messages() -> None:
    runs: list[list[Any]] = []

    async def scenario() -> None:
        faults = [
            {"kind": "drop_message", "when": {"probability": 0.2}},
            {"kind": "cross_quotes", "when": {"probability": 0.2}},
        ]
        async with rehearsing(plan(*faults)) as client:
            runs.append(await heard(client, *STREAMS, minutes=3))

    play(scenario)
    play(scenario)
    assert len(runs[0]) > 150
    assert runs[0] == runs[1]


def test_klines_of_before_the_start_join_those_of_the_replay() -> None:
    async def scenario() -> None:
        async with rehearsing(plan(history=100)) as client:
            await client.session.step(180)
            rows = await client.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1000)
            assert len(rows) == 104  # a hundred before, three closed, one under way
            assert {b[0] - a[0] for a, b in pairwise(rows)} == {MINUTE_MS}
            assert rows[100][0] == START_MS
            assert all(a[4] == b[1] for a, b in pairwise(rows[:103]))  # the market has no gaps

    play(scenario)


def test_stepped_it_waits_for_a_client_and_then_goes_to_the_end() -> None:
    async def scenario() -> None:
        async with rehearsing(plan(minutes=10), run=True) as client:
            session = client.session
            await asyncio.sleep(0.1)
            assert session.events == 0
            ear = await client.hear("btcusdt@kline_1m")
            await until(lambda: session.ended)
            await until(lambda: sum(m["k"]["x"] for m in ear.heard) == 10)

    play(scenario)


def test_real_time_follows_the_wall_and_can_be_steered() -> None:
    async def scenario() -> None:
        async with rehearsing(plan(speed=60.0), run=True) as client:
            began = time.monotonic()
            await until(lambda: client.session.market_ms >= START_MS + 30_000)
            assert 0.4 < time.monotonic() - began < 20.0  # half a minute at speed 60 takes half a second
            state = await client.steer("POST", "pause")
            assert state["paused"]
            stood = client.session.events
            await asyncio.sleep(0.1)
            assert client.session.events == stood
            assert (await client.steer("POST", "speed", speed=600))["speed"] == 600
            at = client.session.market_ms
            await client.steer("POST", "resume")
            await until(lambda: client.session.market_ms >= at + 120_000)
            stepped = await client.steer("POST", "step", secs=60)
            assert stepped["paused"]
            assert client.session.clock.now_ms() == stepped["market_ms"]

    play(scenario)


def test_a_shifted_replay_happens_now() -> None:
    async def scenario() -> None:
        async with rehearsing(plan(speed=1.0, now=True), run=True) as client:
            await until(lambda: client.session.events > 0)
            now = time.time_ns() // 1_000_000
            assert client.session.market.start_ms % MINUTE_MS == 0
            assert 0 <= now - client.session.market.start_ms < MINUTE_MS + 2_000
            assert abs(client.session.clock.now_ms() - now) < 10_000
            ear = await client.hear("btcusdt@markPrice@1s")
            await until(lambda: ear.heard)
            assert abs(ear.heard[0]["E"] - time.time_ns() // 1_000_000) < 20_000
            rows = await client.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m")
            assert rows[-1][0] == client.session.market.start_ms or rows[-1][0] > now - 2 * MINUTE_MS
            assert (await client.order())[0] == 200

    play(scenario)


def test_a_catalog_is_replayed_with_its_funding(tmp_path: Path) -> None:
    async def scenario() -> None:
        catalog = catalog_with(tmp_path, columns=bars(600))
        catalog.write_funding("BTCUSDT-PERP.BINANCE", funding(3))
        start = JUNE // 1_000_000 + 479 * MINUTE_MS
        made = plan()
        feed = CatalogFeed(catalog, "BTCUSDT", start, start + 5 * MINUTE_MS)
        rehearsed = type(made)(
            feeds=[feed], specs=made.specs, keys=made.keys, speed=0.0, history=60, market=MarketSettings()
        )
        async with rehearsing(rehearsed) as client:
            await client.order(quantity="0.1")
            await client.session.step(120)
            (paid,) = await client.ask("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")
            # 0.1 BTC at about 100,048 pay the second settlement's 0.00002: about 0.2001 USDT
            assert -0.2003 < float(paid["income"]) < -0.2000
            assert paid["time"] == JUNE // 1_000_000 + 480 * MINUTE_MS

    play(scenario)


# -- the control endpoint ------------------------------------------------------------------------------------


def test_the_control_endpoint_tells_and_steers() -> None:
    async def scenario() -> None:
        async with rehearsing(plan(symbols=("BTCUSDT", "ETHUSDT"))) as client:
            state = await client.steer("GET", "status")
            assert state["symbols"] == {"BTCUSDT": "TRADING", "ETHUSDT": "TRADING"}
            assert state["http"] == client.session.server.http_url
            await client.steer("POST", "halt", symbol="BTCUSDT")
            assert (await client.order())[0] == 400
            await client.steer("POST", "unhalt", symbol="BTCUSDT")
            assert (await client.order())[0] == 200
            made = await client.steer("POST", "faults", kind="drop_message", when={"count": 1})
            assert [(fault["kind"], fault["hit"]) for fault in made] == [("drop_message", 0)]
            assert await client.steer("DELETE", "faults/drop_message") == []
            done = await client.steer("GET", "log")
            assert [(entry["kind"], entry["target"]) for entry in done] == [
                ("halt_symbol", "begin"),
                ("halt_symbol", "end"),
            ]

    play(scenario)


def test_the_ledger_is_the_venues_truth() -> None:
    async def scenario() -> None:
        async with rehearsing(plan()) as client:
            await client.order(quantity="0.01")
            resting = await client.limit()
            await client.steer("POST", "transfer", amount="-100")
            account = (await client.steer("GET", "ledger"))["main"]
            assert [order["order_id"] for order in account["open_orders"]] == [resting["orderId"]]
            assert [float(position["amount"]) for position in account["positions"]] == [0.01]
            (fill,) = account["fills"]
            wallet = client.session.venue.account_view("main").assets[0].wallet
            assert account["assets"][0] == encode(client.session.venue.account_view("main").assets[0])
            assert float(wallet) == pytest.approx(10_000 - 100 - float(fill["commission"]), abs=1e-9)

    play(scenario)


@pytest.mark.parametrize("memory", [True, False])
def test_a_killed_venue_comes_back_with_its_orders_or_without(memory: bool) -> None:
    async def scenario() -> None:
        async with rehearsing(plan()) as client:
            await client.order()
            resting = await client.limit()
            ear = await client.hear_user()
            before = (await client.steer("GET", "ledger"))["main"]
            await client.steer("POST", "restart", memory=memory)
            await until(lambda: ear.closed == 1006)
            after = (await client.steer("GET", "ledger"))["main"]
            if memory:
                assert after == before
                assert [order["order_id"] for order in after["open_orders"]] == [resting["orderId"]]
            else:
                assert (after["open_orders"], after["positions"], after["fills"]) == ([], [], [])
            assert (await client.steer("GET", "status"))["restarts"] == 1

    play(scenario)


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("faults", {"kind": "nothing"}, "unknown kind 'nothing'"),
        ("faults", {"kind": "drop_message", "matches": {}}, "unknown key matches"),
        ("speed", {"speed": -1}, "cannot be replayed"),
        ("speed", {}, "speed is missing"),
        ("step", {"secs": 1, "times": 2}, "unknown key times"),
        ("jump", {"symbol": "NONE", "percent": 1}, "-1121: Invalid symbol."),
        ("halt", {"symbol": "BTCUSDT", "status": "TRADING"}, "status TRADING is no halt"),
        ("transfer", {"amount": "x"}, "not a number"),
        ("transfer", {"amount": "-1000000"}, "-2018: Balance is insufficient."),
    ],
)
def test_a_mistake_at_the_control_endpoint_is_one_line(
    path: str, values: dict[str, Any], message: str
) -> None:
    async def scenario() -> None:
        async with rehearsing(plan()) as client:
            answer = await client.steer("POST", path, code=400, **values)
            assert message in answer["error"]

    play(scenario)


# -- the command ---------------------------------------------------------------------------------------------


@contextmanager
def command(*args: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command in a process of its own, with what it printed; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "live.rehearsal", "--json", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        lines = ""
        for line in process.stdout:
            lines += line
            if line == "}\n":
                break
        yield process, json.loads(lines)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_command_serves_binances_own_connector_until_it_is_told_to_stop() -> None:
    with command("--symbols", "BTCUSDT", "ETHUSDT", "--speed", "60", "--days", "1") as (process, facts):
        connector = UMFutures(facts["api_key"], facts["api_secret"], base_url=facts["http"], timeout=10)
        try:
            assert [s["symbol"] for s in connector.exchange_info()["symbols"]] == ["BTCUSDT", "ETHUSDT"]
            assert len(connector.klines("ETHUSDT", "15m", limit=99)) == 99
            assert connector.new_order("BTCUSDT", "BUY", "MARKET", quantity="0.01")["symbol"] == "BTCUSDT"
            assert float(connector.get_position_risk(symbol="BTCUSDT")[0]["positionAmt"]) == 0.01
        finally:
            connector.session.close()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
        assert (process.returncode, out, err) == (0, "", "")


def test_the_command_ends_with_the_replay(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_app(app, ["--start", "2025-01-01", "--end", "2025-01-01T00:03", "--speed", "6000"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "http: http://127.0.0.1:" in said
    assert "the replay has ended after" in said


def test_the_command_replays_a_catalog_with_a_fault_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog_with(tmp_path, columns=bars(3))
    script = ROOT / "configs" / "faults" / "venue_outage.yaml"
    with pytest.raises(SystemExit) as ended:
        run_app(app, ["--catalog", str(tmp_path), "--speed", "6000", "--faults", str(script)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "symbols: BTCUSDT\nstart: 2025-06-01T00:00:00Z" in said


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refusal(["--port", str(port)]).startswith(f"error: --port {port} on 127.0.0.1 cannot be used")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--catalog", "nowhere"], "no catalog at nowhere"),
        (["--symbols", "btc-usdt"], "'BTC-USDT' is no symbol"),
        (["--symbols", "NONEUSDT"], "no trading filters are known for NONEUSDT"),
        (["--speed", "-1"], "speed -1.0 cannot be replayed"),
        (["--times", "then"], "--times 'then' is unknown; use now or recorded"),
        (["--start", "yesterday"], "--start 'yesterday' is no time"),
        (["--start", "2025-01-02", "--end", "2025-01-01"], "--end does not lie after --start"),
        (["--host", "0.0.0.0"], "--host 0.0.0.0 is no loopback address"),
        (["--balance", "much"], "--balance 'much' is no amount"),
        (["--faults", "nothing.yaml"], "nothing.yaml: no such fault script"),
        (["--port", "99999"], "Invalid value for '--port'"),
    ],
)
def test_what_cannot_be_replayed_is_one_line_and_exit_code_2(args: list[str], message: str) -> None:
    assert message in refusal(args)


def refusal(args: list[str]) -> str:
    """What the command says when it refuses; exactly one line and exit code 2."""
    errors: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("configs.console.err.print", lambda text, **_: errors.append(text))
        with pytest.raises(SystemExit) as ended:
            run_app(app, [*args, "--json"])
    assert ended.value.code == 2
    (line,) = errors
    assert "\n" not in line
    return line
