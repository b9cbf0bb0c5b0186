"""The protocol of the spot market."""

from typing import Any

from live.rehearsal.serving.dialect import Dialect, Encoded
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.router import Call
from live.rehearsal.spot import sbe
from live.rehearsal.spot.events import BalanceUpdate, ExecutionReport, ListStatus, Position
from live.rehearsal.spot.rest import MARKET_ENDPOINTS
from live.rehearsal.spot.rest_account import ACCOUNT_ENDPOINTS
from live.rehearsal.spot.rest_orders import ORDER_ENDPOINTS
from live.rehearsal.spot.streams import SpotFeed
from live.rehearsal.spot.wire_events import spot_messages, stream_terminated
from live.rehearsal.spot.ws_api import SpotApi

__all__ = ["SPOT"]


def _as_sbe(call: Call, status: int, body: Any) -> Encoded:
    """In SBE when the request asks for it and there is an encoding of the answer."""
    if not sbe.wanted(call.headers):
        return None
    encoded = sbe.answer(call.path, call.method, body, status)
    return None if encoded is None else (encoded, sbe.CONTENT_TYPE)


SPOT = Dialect(
    name="spot",
    endpoints={(e.method, e.path): e for e in (*MARKET_ENDPOINTS, *ACCOUNT_ENDPOINTS, *ORDER_ENDPOINTS)},
    api_path="/ws-api/v3",
    limits=Limits(weight_a_minute=6_000, orders_in_ten_seconds=100, orders_a_day=200_000, connect_weight=2),
    listen_keys=False,
    stream_end=lambda _, ts_ms: stream_terminated(ts_ms),
    user_events=(ExecutionReport, ListStatus, Position, BalanceUpdate),
    fills=ExecutionReport,
    messages=spot_messages,
    feed=SpotFeed,
    api=SpotApi,
    encoded=_as_sbe,
)
