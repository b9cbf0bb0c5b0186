"""Evidence of a scenario made by hand: one long trade in which every invariant holds, to be spoiled by tests.

Time: `at(secs)` after a beginning that is the same on the wall clock and in the market. At 3 s 0.1 BTC is
approved and bought at 50,000; a stop is there 5 ms later, and a target that closes half at 5 s. The stop is
raised at 6 s, the rest sold at 8 s, and the node stopped, flat, at 10 s.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from catalog.instruments import find_spec
from live.rehearsal.campaign.evidence import Evidence, FaultSpan, KillDone, Life, Moment, NodeView, Request
from live.rehearsal.campaign.scenario import Market, Scenario
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "BEGIN_NS",
    "COIN",
    "NAME",
    "algo",
    "at",
    "at_ms",
    "audit_record",
    "fault",
    "fill",
    "good",
    "income",
    "killed_once",
    "moment",
    "order",
    "with_audit",
    "with_ledger",
    "with_run",
]

BEGIN_NS = 1_795_226_000_000_000_000
SECOND_NS = 1_000_000_000
COIN = "BTCUSDT"
NAME = "BTCUSDT-PERP.BINANCE"
SPEC = SymbolSpec.from_catalog(find_spec(COIN, "um"))
ENTRY, STOP, TARGET, RAISED, EXIT = "00-a-1E0", "00-a-2S0", "00-a-3T0", "00-a-4S0", "00-a-5X0"


def at(secs: float) -> int:
    """A wall time (ns)."""
    return BEGIN_NS + round(secs * SECOND_NS)


def at_ms(secs: float) -> int:
    """The same in market milliseconds."""
    return at(secs) // 1_000_000


# -- rows ------------------------------------------------------------------------------------------------


def order(
    number: int, client_id: str, side: str, quantity: str, secs: float, **values: Any
) -> dict[str, Any]:
    """An order of the ledger, at the market and filled unless told otherwise."""
    price = values.pop("filled_at", "50000")
    row = {
        "order_id": number,
        "client_order_id": client_id,
        "symbol": COIN,
        "side": side,
        "type": "MARKET",
        "quantity": quantity,
        "executed": quantity,
        "quote_filled": str(Decimal(quantity) * Decimal(price)),
        "price": "0",
        "stop_price": "0",
        "status": "FILLED",
        "created_ms": at_ms(secs),
        "updated_ms": at_ms(secs),
        "reduce_only": False,
        "close_position": False,
        "algo_id": 0,
        "forced": False,
    }
    return row | values


def algo(number: int, client_id: str, trigger: str, secs: float, **values: Any) -> dict[str, Any]:
    """A closing stop of the ledger, cancelled unless told otherwise."""
    row = {
        "algo_id": number,
        "client_algo_id": client_id,
        "symbol": COIN,
        "side": "SELL",
        "type": "STOP_MARKET",
        "quantity": "0",
        "actual_quantity": "0",
        "actual_price": "0",
        "price": "0",
        "trigger_price": trigger,
        "status": "CANCELED",
        "created_ms": at_ms(secs),
        "updated_ms": at_ms(8.0),
        "reduce_only": True,
        "close_position": True,
    }
    return row | values


def fill(
    number: int, order_id: int, side: str, quantity: str, price: str, secs: float, **values: Any
) -> dict[str, Any]:
    """A fill of the ledger, as taker and with nothing realised unless told otherwise."""
    commission = Decimal(quantity) * Decimal(price) * Decimal("0.0005")
    row = {
        "trade_id": number,
        "order_id": order_id,
        "symbol": COIN,
        "side": side,
        "position_side": "BOTH",
        "price": price,
        "quantity": quantity,
        "realized": "0",
        "commission": str(commission),
        "asset": "USDT",
        "maker": False,
        "ts_ms": at_ms(secs),
    }
    return row | values


def income(number: int, kind: str, amount: str, trade_id: int, secs: float) -> dict[str, Any]:
    """A booking of the ledger."""
    return {
        "tran_id": number,
        "ts_ms": at_ms(secs),
        "symbol": COIN,
        "kind": kind,
        "amount": amount,
        "asset": "USDT",
        "info": "",
        "trade_id": trade_id,
    }


def moment(
    secs: float, position: str, orders: int, *, covers: bool = True, entries: int = 0, **values: Any
) -> Moment:
    """The venue's state after a change."""
    amount = Decimal(position)
    return Moment(
        wall_ns=at(secs),
        market_ms=at_ms(secs),
        what=values.get("what", ""),
        symbol=values.get("symbol", COIN),
        position=amount,
        entry_orders_open=entries,
        stop_covers=covers,
        orders_open=orders,
        mark=Decimal(values.get("mark", "50000")),
        entry_price=Decimal("50000") if amount else Decimal(0),
    )


def audit_record(secs: float, kind: str, session: str = "s1", **detail: Any) -> dict[str, Any]:
    """An audit record; `with_audit` counts them."""
    instrument = "" if kind in ("risk", "node") else NAME
    component = {"risk": "guard", "node": "conductor", "bar": "market"}.get(kind, "momentum")
    return {
        "session": session,
        "seq": 0,
        "wall": at(secs),
        "ts": at(secs),
        "component": component,
        "instrument": instrument,
        "kind": kind,
        "detail": detail,
    }


def fault(kind: str, begun: float, ended: float, name: str = "") -> FaultSpan:
    """A fault that was at work."""
    return FaultSpan(kind, at(begun), at(ended), 1, name)


# -- the whole -------------------------------------------------------------------------------------------


def good() -> Evidence:
    """The trade, with nothing wrong."""
    return Evidence(
        scenario=_scenario(),
        specs={COIN: SPEC},
        lives=(
            Life(
                started_ns=at(0),
                ready_ns=at(2),
                ended_ns=at(10.5),
                ended_by="end",
                exit_code=0,
                outcome="flat",
            ),
        ),
        kills=(),
        moments=(
            moment(0, "0", 0),
            moment(3.001, "0.1", 0, covers=False),
            moment(3.006, "0.1", 1),
            moment(3.007, "0.1", 2),
            moment(5.0, "0.05", 1),
            moment(6.0, "0.05", 2),
            moment(6.001, "0.05", 1),
            moment(8.0, "0", 1),
            moment(8.002, "0", 0),
        ),
        faults=(),
        faults_cleared_ns=at(9),
        ended_ns=at(11),
        settled=True,
        ledger=_ledger(),
        requests=tuple(
            Request(at(secs), method, path, {field: name, "symbol": COIN}, 200, 0)
            for secs, method, path, field, name in (
                (3.001, "WS", "order.place", "newClientOrderId", ENTRY),
                (3.006, "POST", "/fapi/v1/algoOrder", "clientAlgoId", STOP),
                (3.007, "WS", "order.place", "newClientOrderId", TARGET),
                (6.0, "POST", "/fapi/v1/algoOrder", "clientAlgoId", RAISED),
                (8.0, "WS", "order.place", "newClientOrderId", EXIT),
            )
        ),
        audit=_numbered(_audit()),
        audit_unreadable=0,
        node_view=NodeView(
            wall_ns=at(10.0),
            positions={},
            open_orders={},
            balance=Decimal("100070.7275"),
            commissions={NAME: Decimal("4.2725")},
            realized={NAME: Decimal("70.7275")},
            state={"guard.json": {"state": {"day": {"entries": [], "streak": 0}}}},
        ),
    )


def _scenario() -> Scenario:
    return Scenario(
        seed=1,
        symbols=(COIN,),
        balance="100000",
        leverage=5,
        market=Market(
            minute_volatility_bps=5.0,
            spread_bps=1.0,
            depth_quote=1e6,
            trades_a_minute=6,
            speed=60.0,
            start_speed=1.0,
        ),
        run={
            "strategies": [
                {
                    "use": "momentum_leverage",
                    "instrument": NAME,
                    "allow_short": False,
                    "sizing": {"max_position_pct": 6.0},
                }
            ]
        },
        moves=(),
        faults=(),
        kills=(),
        trading_secs=8.0,
        ending="keep",
    )


def _ledger() -> dict[str, Any]:
    # bought 0.1 at 50,000; sold 0.05 at 51,000 (resting) and 0.05 at 50,500
    return {
        "assets": [{"asset": "USDT", "wallet": "100070.7275"}],
        "positions": [],
        "open_orders": [],
        "open_algo_orders": [],
        "orders": [
            order(1, ENTRY, "BUY", "0.1", 3.001),
            order(
                2,
                TARGET,
                "SELL",
                "0.05",
                3.007,
                type="LIMIT",
                price="51000",
                reduce_only=True,
                updated_ms=at_ms(5.0),
            ),
            order(3, EXIT, "SELL", "0.05", 8.0, reduce_only=True),
        ],
        "algo_orders": [algo(11, STOP, "49000", 3.006), algo(12, RAISED, "49500", 6.0)],
        "fills": [
            fill(1, 1, "BUY", "0.1", "50000", 3.001),
            fill(2, 2, "SELL", "0.05", "51000", 5.0, maker=True, commission="0.51", realized="50"),
            fill(3, 3, "SELL", "0.05", "50500", 8.0, realized="25"),
        ],
        "income": [
            income(1, "COMMISSION", "-2.5", 1, 3.001),
            income(2, "REALIZED_PNL", "50", 2, 5.0),
            income(3, "COMMISSION", "-0.51", 2, 5.0),
            income(4, "REALIZED_PNL", "25", 3, 8.0),
            income(5, "COMMISSION", "-1.2625", 3, 8.0),
        ],
    }


def _audit() -> list[dict[str, Any]]:
    def told(secs: float, event: str, client_id: str, **values: Any) -> dict[str, Any]:
        return audit_record(secs, "order", event=event, client_order_id=client_id, **values)

    return [
        audit_record(2.0, "risk", mode="NORMAL", reasons=[], equity=1e5, day_opening=1e5, peak=1e5),
        audit_record(2.9, "bar", close="50000.0"),
        audit_record(3.0, "intent", side=1, reasons=["momentum_up"]),
        audit_record(3.0, "approval", side=1, quantity=0.1),
        told(3.002, "OrderAccepted", ENTRY),
        told(3.003, "OrderFilled", ENTRY, quantity="0.1", price="50000.0"),
        told(3.007, "OrderAccepted", STOP),
        told(3.008, "OrderAccepted", TARGET),
        told(5.001, "OrderFilled", TARGET, quantity="0.05", price="51000.0"),
        told(6.001, "OrderAccepted", RAISED),
        told(8.001, "OrderFilled", EXIT, quantity="0.05", price="50500.0"),
        audit_record(10.0, "node", what="books"),
        audit_record(10.0, "node", what="stopped", outcome="flat"),
    ]


# -- variants --------------------------------------------------------------------------------------------


def with_ledger(evidence: Evidence, **changes: Any) -> Evidence:
    """The same with other parts of the ledger."""
    return replace(evidence, ledger={**evidence.ledger, **changes})


def with_run(evidence: Evidence, **changes: Any) -> Evidence:
    """The same with other parts of the run file."""
    scenario = evidence.scenario
    values = {name: getattr(scenario, name) for name in scenario.__struct_fields__}
    return replace(evidence, scenario=Scenario(**values | {"run": {**scenario.run, **changes}}))


def with_audit(evidence: Evidence, *records: Mapping[str, Any]) -> Evidence:
    """The same with these records, counted within their sessions."""
    return replace(evidence, audit=_numbered(records))


def killed_once(evidence: Evidence, kill: float, ready: float) -> Evidence:
    """The same with a kill, and a second life that traded from `ready` on."""
    first = replace(evidence.lives[0], ended_ns=at(kill), ended_by="kill", exit_code=-9, outcome=None)
    second = replace(evidence.lives[0], started_ns=at(kill) + 1, ready_ns=at(ready))
    return replace(evidence, lives=(first, second), kills=(KillDone("random", at(kill)),))


def _numbered(records: Any) -> tuple[dict[str, Any], ...]:
    counts: dict[str, int] = {}
    numbered = []
    for record in records:
        session = record["session"]
        numbered.append({**record, "seq": counts.get(session, 0)})
        counts[session] = counts.get(session, 0) + 1
    return tuple(numbered)
