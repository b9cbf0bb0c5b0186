"""The checks of a spot account: as for futures, but what is held are coins, and orders offer them."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.risk_state import RiskMemory
from actors.state_file import StateFile
from catalog.instruments import symbol_of
from live.checks.account import check_clock
from live.checks.local import check_disk, check_lock, check_models
from live.checks.report import Context, Row, failed, ok, warned
from live.checks.sentiment import check_sentiment
from live.checks.warm_up import check_warm_up
from live.operate.roster import commanded, trade_path
from live.prepare import GUARD_FILE
from live.venue.errors import VenueRequestError
from live.venue.spot_client import SpotClient
from strategies.assembly import coins_file, trade_file
from strategies.holdings import Coins
from strategies.memory import TradeMemory

__all__ = ["SPOT_CHECKS"]

_NEEDED = ("MARKET", "LIMIT_MAKER", "STOP_LOSS")
_FORSAKEN_ADVICE = (
    "call the strategy so again, or close its trade under that name first; with --adopt who trades that "
    "symbol now sells them at the market"
)


def _client(context: Context) -> SpotClient:
    assert isinstance(context.client, SpotClient)
    return context.client


def check_keys(context: Context) -> Row:
    """Whether the venue knows the key, takes its signature and lets the account trade."""
    try:
        account = _client(context).account()
    except VenueRequestError as error:
        if error.may_pass and context.setup.patience_secs:
            raise
        return failed("keys", str(error), "see the venue's answer; keys are made in its API management")
    if not account.can_trade:
        return failed("keys", "the account may not trade", "see the venue's notices for this account")
    return ok("keys", "known to the venue, the signature is right")


def check_permissions(context: Context) -> Row:
    """Withdrawing is not for a bot's key."""
    if _client(context).permissions().enable_withdrawals:
        advice = "take the withdrawal permission from the key, or make a key without it; a bot never needs it"
        return failed("permissions", "the key may withdraw", advice)
    return ok("permissions", "may not withdraw")


def check_symbols(context: Context) -> Row:
    """Traded, with lists of a target and a stop, and stops that sell at the market."""
    told: dict[str, Any] = json.loads(_client(context).raw_exchange_info())
    known = {entry["symbol"]: entry for entry in told["symbols"]}
    for symbol in context.symbols:
        entry = known.get(symbol)
        if entry is None or entry["status"] != "TRADING":
            status = "not known" if entry is None else entry["status"]
            return failed("symbols", f"{symbol} is {status}", "trade another, or wait")
        missing = [kind for kind in _NEEDED if kind not in entry["orderTypes"]]
        if missing or not entry["ocoAllowed"]:
            what = ", ".join(missing) or "lists (OCO)"
            return failed("symbols", f"{symbol} takes no {what}", "without them coins cannot be covered")
    return ok("symbols", f"{', '.join(context.symbols)}: traded, with lists and market stops")


def check_coins(context: Context) -> Row:
    """The books of what is held agree with the account, every open order is the node's own, and nobody holds
    coins whom the run does not have."""
    client, found = _client(context), []
    account = client.account()
    for strategy in context.run.strategies:
        symbol = symbol_of(strategy.instrument)
        path = coins_file(trade_file(context.setup.folder / GUARD_FILE, strategy))
        base = _base_asset(client, symbol)
        held, total = (
            _held(client, symbol, base, StateFile(path, Coins).read()),
            account.total(base),
        )
        if held > total and not context.setup.adopt:
            advice = "the account has fewer than the node bought: --adopt goes on with what is there"
            return failed("coins", f"{symbol}: {held} {base} in the book, {total} in the account", advice)
        strange = [o for o in client.orders_open(symbol) if not o.is_ours]
        if strange and not context.setup.adopt:
            advice = "cancel them, or give --adopt: then the node does"
            return failed("coins", f"{symbol}: {len(strange)} open orders are not the node's", advice)
        found.append(f"{symbol} {held} of {total} {base}")
    if forsaken := _forsaken(context, client):
        told = "; ".join(forsaken)
        if context.setup.adopt:
            return warned("coins", told, "who trades that symbol now sells them; without anybody they stay")
        return failed("coins", told, _FORSAKEN_ADVICE)
    return ok("coins", f"held by the node's book: {', '.join(found)}")


def _forsaken(context: Context, client: SpotClient) -> list[str]:
    """What is held under names that the run does not have: of a strategy that was renamed, or taken out.

    Of an expected trade the book may be under another name: of who is to be replaced now, or a copy that a
    kill in the middle of that has left.
    """
    folder, found = context.setup.folder, []
    own = {strategy.label for strategy in context.run.strategies} | commanded(folder)
    for path in sorted(folder.glob("coins-*.json")):
        label = path.stem.removeprefix("coins-")
        book = StateFile(path, Coins).read()
        if label in own or book is None or symbol_of(book.instrument) in context.setup.expected:
            continue
        if not _is_open(folder, label, book):
            continue
        rules = client.rules(symbol_of(book.instrument))
        held = _held(client, rules.symbol, rules.base, book)
        if held >= rules.least(client.last_price(rules.symbol)):
            found.append(f"{held} {rules.base} are held by '{label}', which the run file does not have")
    return found


def _is_open(folder: Path, label: str, book: Coins) -> bool:
    """Whether a trade is open by the book, or an entry may have filled that it has not heard of."""
    memory = StateFile(trade_path(folder, label), TradeMemory).read()
    return book.opened != 0 or (memory is not None and memory.pending is not None)


def _held(client: SpotClient, symbol: str, base: str, book: Coins | None) -> Decimal:
    """What the book says, and what has filled since it was written."""
    if book is None:
        return Decimal(0)
    held = book.amount
    for fill in client.own_fills(symbol, book.asked_after):
        if fill.trade_id not in book.seen and fill.order not in book.guesses:
            held += fill.quantity if fill.is_buy else -fill.quantity
            held -= fill.fee if fill.fee_asset == base else 0
    return held


def _base_asset(client: SpotClient, symbol: str) -> str:
    told: dict[str, Any] = json.loads(client.raw_exchange_info())
    return next((str(entry["baseAsset"]) for entry in told["symbols"] if entry["symbol"] == symbol), symbol)


def check_state(context: Context) -> Row:
    """What must outlive a restart can be read; DataError says what is wrong."""
    memory = StateFile(context.setup.folder / GUARD_FILE, RiskMemory).read()
    if memory is not None and memory.kill.halts:
        advice = "find out why; the node starts, and enters nothing until live/command.py DIR resume"
        return warned("state", f"the kill switch is thrown ({', '.join(memory.kill.halts)})", advice)
    return ok("state", "readable" if memory else "none yet: risk limits begin anew")


SPOT_CHECKS: dict[str, Callable[[Context], Row]] = {
    "clock": check_clock,
    "keys": check_keys,
    "permissions": check_permissions,
    "symbols": check_symbols,
    "coins": check_coins,
    "models": check_models,
    "warm-up": check_warm_up,
    "sentiment": check_sentiment,
    "disk": check_disk,
    "state": check_state,
    "lock": check_lock,
}
