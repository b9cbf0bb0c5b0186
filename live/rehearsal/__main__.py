"""A local Binance USD-M futures or spot venue that replays a market.

    python -m live.rehearsal                                        the seeded synthetic market, real time
    python -m live.rehearsal --market spot --balance 10000          the same as a spot exchange
    python -m live.rehearsal --catalog DIR --symbols BTCUSDT ETHUSDT --speed 60
    python -m live.rehearsal --faults configs/faults/rough_day.yaml --speed 0

It prints the addresses and the demo keys, and serves until the replay's end, SIGINT or SIGTERM. Clients need
only other base URLs. `live.rehearsal.control` describes the control endpoint, `live.rehearsal.faults.script`
the fault script.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import asyncio
import errno
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from nautilus_trader.model import CryptoPerpetual, CurrencyPair

from catalog.columns import utc_ns
from catalog.instruments import Market, find_spec, instrument_name, market_of, symbol_of
from catalog.instruments import SymbolSpec as CatalogSpec
from catalog.store import Catalog
from configs.console import command_app, emit_json, out, run_app, status
from configs.errors import ConfigError, DataError
from live.rehearsal.control import Control
from live.rehearsal.faults.script import FaultScript, load_faults
from live.rehearsal.market.feeds import CatalogFeed, Feed, SyntheticFeed
from live.rehearsal.market.replay import MarketSettings
from live.rehearsal.record import KLINES_KEPT
from live.rehearsal.serving.demo_keys import DemoKeys, demo_keys
from live.rehearsal.session import Plan, Session
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.specs import spot_spec

__all__ = ["main"]

LONGEST_HISTORY_MINUTES = KLINES_KEPT

_SYMBOL = re.compile(r"[A-Z0-9]{3,20}")
_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost")
_SYNTHETIC_START = "2025-01-01"
_TIMES = ("now", "recorded")

app = command_app("A local Binance USD-M futures or spot venue that replays a market.")


# The options, each with its help; Typer reads them from the annotations of `main`.
_Catalog = Annotated[
    Path | None, typer.Option(help="The catalog to replay; without one a seeded synthetic market.")
]
_Market = Annotated[str, typer.Option(help="um (USD-M futures) or spot.")]
_Symbols = Annotated[
    list[str] | None, typer.Option(help="One or more; default: all of the catalog, else BTCUSDT ETHUSDT.")
]
_More = Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", hidden=True)]
_Start = Annotated[str | None, typer.Option(help="First moment to replay (UTC).")]
_End = Annotated[str | None, typer.Option(help="Where the replay ends (UTC).")]
_Days = Annotated[int, typer.Option(min=1, max=3650, help="Length of a synthetic market.")]
_Speed = Annotated[float, typer.Option(help="Market seconds a second; 0: as fast as clients follow.")]
_Times = Annotated[
    str | None,
    typer.Option(help="now (shifted to begin now) or recorded; default: now at speed 1, else recorded."),
]
_Host = Annotated[str, typer.Option(help="A loopback address.")]
_Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
_Faults = Annotated[Path | None, typer.Option(help="A fault script (YAML).")]
_Balance = Annotated[
    str, typer.Option(help="The account's USDT at the start, or several assets: USDT=5000,BTC=0.1.")
]
_Leverage = Annotated[
    int, typer.Option(min=1, max=125, help="The account's leverage at the start (futures).")
]
_Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Decides paths, sizes and keys.")]
_Spread = Annotated[float, typer.Option(help="Between bid and ask; a tick at least.")]
_Depth = Annotated[float, typer.Option(help="Mean size of a level of the book, in USDT.")]
_Levels = Annotated[int, typer.Option(min=1, max=100, help="Levels of the book a side.")]
_Trades = Annotated[int, typer.Option(min=1, max=6000, help="Trades a minute.")]
_Quotes = Annotated[int, typer.Option(min=1, max=1000, help="Quotes a trade.")]
_History = Annotated[
    int, typer.Option(min=0, max=LONGEST_HISTORY_MINUTES, help="Minutes of klines before the start.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print addresses and keys as one object.")]


@app.command()
def main(
    catalog: _Catalog = None,
    market: _Market = "um",
    symbols: _Symbols = None,
    more_symbols: _More = None,
    start: _Start = None,
    end: _End = None,
    days: _Days = 7,
    speed: _Speed = 1.0,
    times: _Times = None,
    host: _Host = "127.0.0.1",
    port: _Port = 0,
    control_port: _Port = 0,
    faults: _Faults = None,
    balance: _Balance = "10000",
    leverage: _Leverage = 20,
    seed: _Seed = 7,
    spread_bps: _Spread = 0.5,
    depth: _Depth = 100_000.0,
    levels: _Levels = 5,
    trades: _Trades = 12,
    quotes: _Quotes = 1,
    history: _History = 1500,
    as_json: _Json = False,
) -> None:
    """Serve a local venue that replays a market, until its end, SIGINT or SIGTERM."""
    settings = MarketSettings(
        seed=seed,
        spread_bps=spread_bps,
        depth_quote=depth,
        levels=levels,
        trades_a_minute=trades,
        quotes_a_trade=quotes,
    )
    script = FaultScript(seed=seed) if faults is None else load_faults(faults)
    if not _LOOPBACK.fullmatch(host):
        raise ConfigError(f"--host {host} is no loopback address; the demo keys are for this machine only")
    period = _moment(start, "--start"), _moment(end, "--end"), days
    wanted, shifted = _symbols([*(symbols or []), *(more_symbols or [])]), _now(times, speed)
    keys, balances, kind = demo_keys(seed), _balances(balance), _kind(market)
    with status("preparing the market", quiet=as_json):
        feeds, specs = _market(catalog, wanted, *period, seed, kind)
        plan = Plan(feeds=feeds, specs=specs, keys=keys.ring, market=settings, script=script, speed=speed)
        plan = replace(plan, now=shifted, history=history, balances=balances, leverage=leverage)
        session = Session(replace(plan, market_kind=kind))
    asyncio.run(_serve(session, keys, host, port, control_port, as_json=as_json))


async def _serve(
    session: Session, keys: DemoKeys, host: str, port: int, control_port: int, *, as_json: bool
) -> None:
    """Open both servers, tell where they are, and move the market until its end or a signal."""
    control = Control(session)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C comes as KeyboardInterrupt
            loop.add_signal_handler(number, session.stop)
    try:
        await _listen(session, host, port, "--port")
        await _listen(control, host, control_port, "--control-port")
        _introduce(session, control, keys, as_json=as_json)
        await session.run()
    finally:
        await control.stop()
        await session.close()
    if not as_json:
        ended = "the replay has ended" if session.ended else "stopped"
        out.print(f"{ended} after {session.events:,} market events", markup=False, highlight=False)


async def _listen(server: Session | Control, host: str, port: int, option: str) -> None:
    try:
        await server.start(host, port)
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
            raise ConfigError(f"{option} {port} on {host} cannot be used: {error.strerror}") from error
        raise


def _introduce(session: Session, control: Control, keys: DemoKeys, *, as_json: bool) -> None:
    server = session.server
    facts: dict[str, Any] = {
        "market": session.plan.market_kind,
        "http": server.http_url,
        "ws": server.ws_url,
        "ws_api": server.ws_api_url,
        "control": control.url,
        "api_key": keys.hmac_key,
        "api_secret": keys.hmac_secret,
        "ed25519_api_key": keys.ed25519_key,
        "ed25519_private_key": keys.ed25519_private_pem,
        "symbols": list(session.market.symbols),
        "start": _text(session.market.start_ms),
        "end": _text(session.market.end_ms),
        "shift_ms": session.market.start_ms - min(feed.start_ms for feed in session.plan.feeds),
        "speed": session.clock.speed,
    }
    if as_json:
        emit_json(facts)
    else:
        for name, value in facts.items():
            shown = " ".join(value) if isinstance(value, list) else str(value).rstrip()
            out.print(f"{name}: {shown}", markup=False, highlight=False)
    sys.stdout.flush()


def _market(
    folder: Path | None,
    symbols: tuple[str, ...],
    start: int | None,
    end: int | None,
    days: int,
    seed: int,
    kind: Market,
) -> tuple[list[Feed], list[SymbolSpec]]:
    if start is not None and end is not None and end <= start:
        raise ConfigError("--end does not lie after --start")
    if folder is None:
        return _synthetic(symbols or ("BTCUSDT", "ETHUSDT"), start, end, days, seed, kind)
    catalog = Catalog.open(folder)
    found = symbols or tuple(symbol_of(name) for name in catalog.instrument_ids() if market_of(name) == kind)
    if not found:
        wanted = "perpetual" if kind == "um" else "spot pair"
        raise DataError(f"catalog {folder} has no {wanted}; name another one")
    feeds: list[Feed] = [CatalogFeed(catalog, symbol, start, end, kind) for symbol in found]
    return feeds, [_spec(_stored_spec(catalog, symbol, kind)) for symbol in found]


def _synthetic(
    symbols: tuple[str, ...], start: int | None, end: int | None, days: int, seed: int, kind: Market
) -> tuple[list[Feed], list[SymbolSpec]]:
    begin = _moment(_SYNTHETIC_START, "--start") if start is None else start
    assert begin is not None
    if begin % 60_000:
        raise ConfigError("--start of a synthetic market must be a whole minute")
    length = days if end is None else -(-(end - begin) // 86_400_000)
    feeds = [SyntheticFeed(symbol, begin, length, seed, kind) for symbol in symbols]
    for feed in feeds:
        feed.end_ms = feed.end_ms if end is None else end
    return list(feeds), [_spec(find_spec(symbol, kind)) for symbol in symbols]


def _spec(spec: CatalogSpec) -> SymbolSpec:
    return spot_spec(spec) if spec.market == "spot" else SymbolSpec.from_catalog(spec)


def _stored_spec(catalog: Catalog, symbol: str, kind: Market) -> CatalogSpec:
    """The filters that the catalog holds, which may be other than the shipped ones."""
    name = instrument_name(symbol, kind)
    held = catalog.instrument(name)
    assert isinstance(held, CryptoPerpetual | CurrencyPair)
    settlement = held.settlement_currency if isinstance(held, CryptoPerpetual) else held.quote_currency
    missing = [n for n in ("min_quantity", "max_quantity", "min_notional") if getattr(held, n) is None]
    if missing:
        raise DataError(f"{name} is stored without {', '.join(missing)}; ingest it with its exchangeInfo")
    return CatalogSpec(
        symbol=symbol,
        market=kind,
        base=held.base_currency.code,
        quote=held.quote_currency.code,
        settlement=settlement.code,
        tick=Decimal(str(held.price_increment)),
        step=Decimal(str(held.size_increment)),
        min_quantity=Decimal(str(held.min_quantity)),
        max_quantity=Decimal(str(held.max_quantity)),
        min_notional=Decimal(str(held.min_notional).split()[0]),
        margin_init=Decimal(str(held.margin_init)),
        margin_maint=Decimal(str(held.margin_maint)),
        as_of="",
        source=str(catalog.path),
    )


def _symbols(texts: Sequence[str]) -> tuple[str, ...]:
    symbols = [part.strip().upper() for text in texts for part in text.split(",") if part.strip()]
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise ConfigError(f"'{symbol}' is no symbol; write it as Binance does, such as BTCUSDT")
    return tuple(dict.fromkeys(symbols))


def _kind(text: str) -> Market:
    if text == "um":
        return "um"
    if text == "spot":
        return "spot"
    raise ConfigError(f"--market '{text}' is unknown; use um or spot")


def _balances(text: str) -> dict[str, Decimal]:
    """The amounts by asset; a bare amount is USDT's."""
    if "=" not in text:
        return {"USDT": _amount(text)}
    pairs = [part.partition("=") for part in text.split(",")]
    return {asset.strip().upper(): _amount(amount) for asset, _, amount in pairs}


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise ConfigError(f"--balance '{text}' is no amount; write it like 10000") from error
    if not (amount.is_finite() and amount > 0):
        raise ConfigError(f"--balance {text} is not above 0")
    return amount


def _now(times: str | None, speed: float) -> bool:
    if times is not None and times not in _TIMES:
        raise ConfigError(f"--times '{times}' is unknown; use {' or '.join(_TIMES)}")
    return speed == 1.0 if times is None else times == "now"


def _moment(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{option} '{text}' is no time; write it like 2024-01-31 or 2024-01-31T12:00"
        ) from error
    return utc_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) // 1_000_000


def _text(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    run_app(app)
