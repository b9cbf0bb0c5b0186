"""The steps in the lives of a node and its orders at which it can be killed, and how they are recognised.

Roles are told by the client order ids, which end with one. What the venue sees is a step at the very moment:
`received` before anything is done, `accepted` when it is done and nothing of it was sent, `answered` a moment
after the answer, `partial` and `filled` before the event is sent, `told` a moment after.
"""

import re
from collections.abc import Mapping
from typing import Any

from nautilus_trader.adapters.binance import (
    decode_binance_futures_client_order_id,
    decode_binance_spot_client_order_id,
)

from live.rehearsal.futures.events import AlgoUpdate, OrderUpdate
from live.rehearsal.spot.events import ExecutionReport

__all__ = [
    "IN_NODE",
    "LATER_SECS",
    "SPOT_STEPS",
    "STEPS",
    "Phase",
    "answer_steps",
    "event_steps",
    "in_node",
    "own_id",
    "request_steps",
    "role_of",
]

LATER_SECS = 0.01
IN_NODE = {
    "before_entry": ("entry", False),
    "after_entry": ("entry", True),
    "before_stop": ("stop", False),
    "after_stop": ("stop", True),
    "before_exit": ("exit", False),
}
_SPOT_IN_NODE = {
    "before_entry": ("entry", False),
    "after_entry": ("entry", True),
    "before_list": ("list", False),
    "after_list": ("list", True),
    "before_exit": ("exit", False),
}
STEPS = (
    "preflight",
    "connecting",
    "reconciling",
    *IN_NODE,
    "entry_received",
    "entry_accepted",
    "entry_answered",
    "entry_partial",
    "entry_filled",
    "entry_told",
    "add_received",
    "add_filled",
    "stop_received",
    "stop_accepted",
    "stop_answered",
    "stop_triggered",
    "stop_filled",
    "bridge_received",
    "bridge_accepted",
    "target_received",
    "target_accepted",
    "target_filled",
    "exit_received",
    "exit_filled",
    "cancel_received",
    "cancel_accepted",
    "shutdown",
    "random",
)

SPOT_STEPS = (
    "preflight",
    "connecting",
    "reconciling",
    *_SPOT_IN_NODE,
    "entry_received",
    "entry_accepted",
    "entry_answered",
    "entry_partial",
    "entry_filled",
    "entry_told",
    "list_received",
    "list_accepted",
    "list_answered",
    "stop_filled",
    "target_filled",
    "exit_received",
    "exit_accepted",
    "exit_filled",
    "cancel_received",
    "cancel_accepted",
    "shutdown",
    "random",
)

_ROLES = {"E": "entry", "A": "add", "S": "stop", "B": "bridge", "T": "target", "X": "exit"}
_ID = re.compile(r".*-\d+([EASBTX])\d+")
_PLACED = {
    ("POST", "/fapi/v1/order"),
    ("POST", "/fapi/v1/algoOrder"),
    ("WS", "order.place"),
    ("WS", "algoOrder.place"),
    ("POST", "/api/v3/order"),
}
_LISTED = {("POST", "/api/v3/orderList/oco"), ("WS", "orderList.place.oco")}
_CANCELLED = {
    ("DELETE", "/fapi/v1/order"),
    ("DELETE", "/fapi/v1/algoOrder"),
    ("WS", "order.cancel"),
    ("WS", "algoOrder.cancel"),
    ("DELETE", "/api/v3/order"),
    ("DELETE", "/api/v3/orderList"),
    ("WS", "orderList.cancel"),
}
_CONNECTING = {
    ("POST", "/fapi/v1/listenKey"),
    ("WS", "session.logon"),
    ("WS", "userDataStream.subscribe"),
    ("WS", "userDataStream.subscribe.signature"),
}
_RECONCILED = (
    "/fapi/v1/openOrders",
    "/fapi/v1/openAlgoOrders",
    "/fapi/v2/positionRisk",
    "/fapi/v3/positionRisk",
    "/api/v3/openOrders",
    "/api/v3/account",
)
_CLIENT_IDS = ("newClientOrderId", "clientAlgoId", "origClientOrderId")


class Phase:
    """How far a life has come, by what it has asked for."""

    def __init__(self) -> None:
        self.is_connecting = False


def own_id(client_id: str) -> str:
    """A client order id as the node gave it, of the one that the venue of either market knows."""
    return decode_binance_spot_client_order_id(decode_binance_futures_client_order_id(client_id))


def in_node(step: str) -> tuple[str, bool] | None:
    """What the node hands over at a step that only it can see, and whether it is after that; else None."""
    return IN_NODE.get(step) or _SPOT_IN_NODE.get(step)


def role_of(client_id: str) -> str:
    """What an order is for by its id as the venue knows it, "" for others.

    >>> role_of("m-mk3x1-2S0")
    'stop'
    """
    match = _ID.fullmatch(own_id(client_id))
    return "" if match is None else _ROLES[match[1]]


def request_steps(phase: Phase, method: str, path: str, params: Mapping[str, str]) -> tuple[str, ...]:
    """The steps that a request which has just come in is."""
    key = method, path
    if key in _CONNECTING and not phase.is_connecting:
        phase.is_connecting = True
        return ("connecting",)
    if not phase.is_connecting:
        return ("preflight",)
    if key in _PLACED:
        return (f"{_role(params)}_received",)
    if key in _LISTED:
        return ("list_received",)
    if key in _CANCELLED:
        return ("cancel_received",)
    return ("reconciling",) if method == "GET" and path in _RECONCILED else ()


def answer_steps(method: str, path: str, params: Mapping[str, str], status: int) -> tuple[str, ...]:
    """The steps that a request which has just taken effect is; none when it was refused."""
    key = method, path
    if status != 200:
        return ()
    if key in _PLACED:
        return (f"{_role(params)}_accepted",)
    if key in _LISTED:
        return ("list_accepted",)
    return ("cancel_accepted",) if key in _CANCELLED else ()


def event_steps(event: Any) -> tuple[str, ...]:
    """The steps that an event about to be sent is."""
    if isinstance(event, AlgoUpdate):
        return ("stop_triggered",) if event.order.status == "TRIGGERED" else ()
    if not isinstance(event, OrderUpdate | ExecutionReport) or event.execution != "TRADE":
        return ()
    role = role_of(event.order.client_order_id)
    return (f"{role}_{'filled' if event.order.status == 'FILLED' else 'partial'}",)


def _role(params: Mapping[str, str]) -> str:
    return next((role_of(params[name]) for name in _CLIENT_IDS if name in params), "")
