"""The classes of faults of a campaign: each makes the faults of one scenario out of its random numbers.

Probabilities, counts and times are random; a class always does something that its name says. Times within a
fault are market seconds, so they are wall seconds times the market's speed.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from live.rehearsal.campaign.scenario import Fault

__all__ = ["FAULT_CLASSES", "SPOT_FAULT_CLASSES", "make_faults"]

Values = dict[str, Any]
Maker = Callable[[Random, float, str], list[Values]]
_ORDERS = "*rder*"  # REST and WebSocket: order, algoOrder, openOrders
_STOPS = "*lgoOrder*"
_LISTS = "*rderList*"


def _when(random: Random, *, most: int = 4) -> Values:
    """Some of what matches: a few at once, or a share of many."""
    if random.random() < 0.5:
        return {"skip": random.randint(0, 2), "count": random.randint(1, most)}
    return {"probability": round(random.uniform(0.15, 0.6), 2), "count": most * 3}


def _request(kind: str, path: str = _ORDERS, **values: Any) -> Maker:
    def make(random: Random, speed: float, symbol: str) -> list[Values]:
        del speed, symbol
        return [{"kind": kind, "match": {"path": path}, "when": _when(random), **values}]

    return make


def _message(kind: str, stream: str, **values: Any) -> Maker:
    def make(random: Random, speed: float, symbol: str) -> list[Values]:
        del speed, symbol
        most = 4 if stream == "user" else 40
        return [{"kind": kind, "match": {"stream": stream}, "when": _when(random, most=most), **values}]

    return make


def _once(kind: str, **values: Any) -> Maker:
    def make(random: Random, speed: float, symbol: str) -> list[Values]:
        del symbol
        timing: Values = {}
        if random.random() < 0.4:
            timing = {
                "repeat_secs": round(speed * random.uniform(1.5, 3.0), 1),
                "count": random.randint(2, 3),
            }
        return [{"kind": kind, "timing": timing, **values}]

    return make


def _lasting(kind: str, secs: tuple[float, float] = (1.0, 4.0), **values: Any) -> Maker:
    def make(random: Random, speed: float, symbol: str) -> list[Values]:
        timing = {"for_secs": round(speed * random.uniform(*secs), 1)}
        named = {"symbol": symbol} if kind in ("halt_symbol", "change_filters") else {}
        return [{"kind": kind, "timing": timing, **named, **values}]

    return make


def _market(kind: str, secs: tuple[float, float] = (1.0, 4.0), **values: Any) -> Maker:
    def make(random: Random, speed: float, symbol: str) -> list[Values]:
        when = {"for_secs": round(speed * random.uniform(*secs), 1)}
        return [{"kind": kind, "symbols": [symbol], "when": when, **values}]

    return make


def _refused(random: Random, speed: float, symbol: str) -> list[Values]:
    """Sockets are closed, and cannot be opened again for a while."""
    del symbol
    sockets = random.sample(["market", "user", "trading"], random.randint(1, 3))
    when = {"for_secs": round(speed * random.uniform(0.5, 3.0), 1)}
    closed = {"kind": "close_sockets", "sockets": sockets, "frame": random.random() < 0.5}
    refused = {"kind": "refuse_connection", "match": {"sockets": sockets}, "when": when}
    return [refused | {"hang": random.random() < 0.3}, closed]


def _deleverage(random: Random, speed: float, symbol: str) -> list[Values]:
    """The venue closes what is held, or a part of it."""
    del speed
    return [{"kind": "deleverage", "symbol": symbol, "percent": random.choice((30.0, 60.0, 100.0))}]


def _venue_restart(random: Random, speed: float, symbol: str) -> list[Values]:
    del speed, symbol
    return [{"kind": "restart_venue", "memory": True, "down_secs": round(random.uniform(0.0, 3.0), 2)}]


def _venue_amnesia(random: Random, speed: float, symbol: str) -> list[Values]:
    del speed, symbol
    return [{"kind": "restart_venue", "memory": False, "down_secs": round(random.uniform(0.0, 2.0), 2)}]


def _error(code: int, path: str = "*rder*", **values: Any) -> Maker:
    return _request("error_answer", path, code=code, **values)


FAULT_CLASSES: Mapping[str, Maker] = {
    "drop_user": _message("drop_message", "user"),
    "drop_market": _message("drop_message", "*@*"),
    "delay_user": _message("delay_message", "user", delay_ms=700, jitter_ms=900),
    "delay_market": _message("delay_message", "*@*", delay_ms=500, jitter_ms=500),
    "duplicate_user": _message("duplicate_message", "user", copies=2, delay_ms=40),
    "duplicate_market": _message("duplicate_message", "*@*", copies=2, delay_ms=40),
    "reorder_user": _message("reorder_message", "user", by=2),
    "reorder_market": _message("reorder_message", "*@*", by=3),
    "close_market": _once("close_sockets", sockets=["market"]),
    "close_user": _once("close_sockets", sockets=["user"], frame=False),
    "close_trading": _once("close_sockets", sockets=["trading"], frame=False),
    "close_all": _once("close_sockets"),
    "refuse_connection": _refused,
    "listen_key_told": _once("expire_listen_key"),
    "listen_key_untold": _once("expire_listen_key", told=False),
    "delay_request": _request("delay_request", delay_ms=400),
    "delay_answer": _request("delay_request", answer_delay_ms=900),
    "drop_request": _request("drop_request"),
    "hang_request": _request("drop_request", hang=True),
    "lose_answer": _request("lose_answer"),
    "hang_answer": _request("lose_answer", hang=True),
    "late_timeout": _request("late_acceptance", later_ms=800),
    "late_drop": _request("late_acceptance", later_ms=800, answer="drop"),
    "unknown_1007": _error(-1007, carried_out=True),
    "failed_1007": _error(-1007),
    "busy_1003": _error(-1003, status=429, retry_after_secs=1),
    "banned_418": _error(-1003, status=418, retry_after_secs=2),
    "time_1021": _error(-1021),
    "precision_1111": _error(-1111),
    "refused_2010": _error(-2010),
    "cancel_2011": _error(-2011, "*cancel*"),
    "gone_2013": _error(-2013),
    "margin_2019": _error(-2019),
    "trigger_2021": _error(-2021, _STOPS),
    "reduce_2022": _error(-2022),
    "stop_4xxx": _error(-4045, _STOPS),
    "price_4xxx": _error(-4131),
    "html_503": _request("http_answer", status=503),
    "html_503_done": _request("http_answer", status=503, carried_out=True),
    "html_502_all": _request("http_answer", "*", status=502),
    "stale_quotes": _market("stale_quotes"),
    "stale_market": _market("stale_quotes", everything=True),
    "cross_quotes": _market("cross_quotes", bps=8.0),
    "move_mark_up": _market("move_mark", percent=3.0),
    "move_mark_down": _market("move_mark", percent=-3.0),
    "flash_up": _market("jump_price", (0.3, 1.5), percent=6.0),
    "flash_down": _market("jump_price", (0.3, 1.5), percent=-6.0),
    "slice_fills": _lasting("slice_fills", (3.0, 8.0), slices=4),
    "skew_clock": _lasting("skew_clock", skew_ms=-7_000),
    "skew_clock_ahead": _lasting("skew_clock", skew_ms=6_000),
    "halt_symbol": _lasting("halt_symbol"),
    "change_filters": _lasting("change_filters", (2.0, 6.0), step="0.01", min_quantity="0.01"),
    "restart_venue": _venue_restart,
    "amnesia": _venue_amnesia,
    "deleverage": _deleverage,
}


# not played on spot: what only perpetuals have, and a venue that forgets coins for which someone has paid
_NOT_SPOT = (
    "amnesia",
    "close_user",
    "deleverage",
    "margin_2019",
    "move_mark_down",
    "move_mark_up",
    "price_4xxx",
    "reduce_2022",
    "stop_4xxx",
    "trigger_2021",
)
SPOT_FAULT_CLASSES: Mapping[str, Maker] = {
    name: make for name, make in FAULT_CLASSES.items() if name not in _NOT_SPOT
} | {
    "filter_1013": _error(-1013),
    "list_2010": _error(-2010, _LISTS, message="Stop price would trigger immediately."),
    "lose_list": _request("lose_answer", _LISTS),
    "drop_list": _request("drop_request", _LISTS),
}


def make_faults(
    classes: tuple[str, ...],
    random: Random,
    *,
    speed: float,
    symbols: tuple[str, ...],
    trading_secs: float,
    table: Mapping[str, Maker] = FAULT_CLASSES,
) -> tuple[Fault, ...]:
    """The faults of some classes, each at a random time of the scenario; some before the node starts."""
    faults: list[Fault] = []
    for name in classes:
        at_secs: float | None = round(random.uniform(0.0, trading_secs * 0.6), 2)
        if random.random() < 0.15 and name not in ("amnesia", "restart_venue"):
            at_secs = None
        for values in table[name](random, speed, random.choice(symbols)):
            faults.append(Fault(values={"name": f"{name}-{len(faults)}", **values}, at_secs=at_secs))
    return tuple(faults)
