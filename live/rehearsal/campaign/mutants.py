"""Nodes that are broken on purpose: each has one defect that an invariant of the campaign must accuse.

They prove that the campaign can fail. A mutant replaces something of the product in the process that the
nodes are forked from, never in one that judges; the product knows nothing of it. `MUTANTS` names for each
the invariants that may accuse it (one is enough) and seeds in which its defect comes about.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nautilus_trader.model import TriggerType

from actors import risk_rules, sentiment
from actors.risk_rules import DayRules, KillMemory, KillRules
from actors.state_file import StateFile
from live import preflight
from live.checks.report import ok
from live.conductor import Conductor
from live.record.audit_file import AuditFile
from live.rehearsal.campaign.stages import PLAIN
from strategies import checks, keeper, open_trade, orders, risk, trade
from strategies.base import TradingStrategy
from strategies.journal import Journal
from strategies.keeper import TradeKeeper
from strategies.orders import ENTRY, EXIT, STOP, TARGET, OrderDesk
from strategies.protect import Cancel, Modify, Place, Step, WorkingOrder
from strategies.trade import MOVE_STOP
from strategies.venue_grid import VenueGrid
from strategies.venue_stop import BRIDGE, match_stop

__all__ = ["MUTANTS", "Mutant", "apply_mutant"]


_FEE = 2.5  # of one fill, in quote currency


class Mutant(NamedTuple):
    """`apply` breaks this process; `accused_by` are invariants, `seeds` those worth playing.

    They are played on a `stage` (`stages.STAGES`).
    """

    apply: Callable[[], None]
    accused_by: tuple[str, ...]
    seeds: tuple[int, ...]
    stage: str = PLAIN


def apply_mutant(name: str) -> None:
    """Break this process for good; KeyError for a name that is not in `MUTANTS`."""
    MUTANTS[name].apply()


def _replace(owner: Any, name: str, made: Any) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} any more: the mutant breaks nothing")
    setattr(owner, name, made)


# -- the stop --------------------------------------------------------------------------------------------


def _stop_never_placed() -> None:
    place = OrderDesk.place

    def placed(desk: OrderDesk, step: Place, **options: Any) -> None:
        if step.role not in (STOP, BRIDGE):
            place(desk, step, **options)

    _replace(OrderDesk, "place", placed)


def _stop_on_wrong_side() -> None:
    place = OrderDesk.place

    def placed(desk: OrderDesk, step: Place, **options: Any) -> None:
        is_stop = step.role in (STOP, BRIDGE)
        place(desk, step._replace(side=-step.side) if is_stop else step, **options)

    _replace(OrderDesk, "place", placed)


def _stop_too_far() -> None:
    plan = trade.open_plan

    def opened(side: int, price: float, distance: float, ticks_per_unit: float) -> Any:
        return plan(side, price, 1.5 * distance, ticks_per_unit)

    _replace(open_trade, "open_plan", opened)


def _stop_on_last_price() -> None:
    class OnLast:
        MARK_PRICE = LAST_PRICE = TriggerType.LAST_PRICE

    _replace(orders, "TriggerType", OnLast)


def _stop_not_moved() -> None:
    def matched(
        held: int, ticks: int, closing: WorkingOrder | None, bridge: WorkingOrder | None, **options: Any
    ) -> tuple[Step, ...]:
        if held and closing is not None:
            ticks = closing.ticks
        return match_stop(held, ticks, closing, bridge, **options)

    _replace(keeper, "match_stop", matched)


def _stop_cancelled_first() -> None:
    def matched(
        held: int, ticks: int, closing: WorkingOrder | None, bridge: WorkingOrder | None, **options: Any
    ) -> tuple[Step, ...]:
        if held and ticks and closing is not None and closing.settled and closing.ticks != ticks:
            return (Cancel(closing.order_id),)
        return match_stop(held, ticks, closing, bridge, **options)

    _replace(keeper, "match_stop", matched)


def _stop_loosened() -> None:
    carry_on = open_trade.OpenTrade.carry_on

    def looser(opened: open_trade.OpenTrade, *args: Any) -> int:
        flags = carry_on(opened, *args)
        away = max(2, opened.plan.entry_ticks // 1000)
        opened.plan = opened.plan._replace(stop_ticks=opened.plan.stop_ticks - opened.plan.side * away)
        return flags | MOVE_STOP

    _replace(open_trade.OpenTrade, "carry_on", looser)


def _stop_late() -> None:
    filled, protect = TradeKeeper.filled, TradeKeeper.protect

    def later(kept: TradeKeeper, event: Any) -> None:
        _replace(TradeKeeper, "protect", lambda _: None)
        try:
            filled(kept, event)
        finally:
            _replace(TradeKeeper, "protect", protect)

    _replace(TradeKeeper, "filled", later)


# -- targets, exits, what is left ------------------------------------------------------------------------


def _target_not_reduce_only() -> None:
    place = OrderDesk.place

    def placed(desk: OrderDesk, step: Place, **options: Any) -> None:
        if step.role != TARGET:
            place(desk, step, **options)
            return
        slot = orders.Slot(TARGET, step.rung)
        order = desk._strategy.order_factory.limit(
            desk._id,
            orders._side(step.side),
            desk.quantity(step.lots),
            desk._level(step.ticks),
            client_order_id=desk._name(slot),
        )
        desk._send(order, slot)

    _replace(OrderDesk, "place", placed)


def _target_not_resized() -> None:
    modify = OrderDesk._modify

    def modified(desk: OrderDesk, step: Modify, close: float) -> None:
        if step.role != TARGET:
            modify(desk, step, close)

    _replace(OrderDesk, "_modify", modified)


def _target_never_placed() -> None:
    _replace(OrderDesk, "_place_target", lambda *_: None)


def _exit_not_reduce_only() -> None:
    market = OrderDesk.market

    def sent(desk: OrderDesk, role: str, side: int, lots: int, **options: Any) -> None:
        if role != EXIT:
            market(desk, role, side, lots, **options)
            return
        slot = orders.Slot(EXIT)
        order = desk._strategy.order_factory.market(
            desk._id, orders._side(side), desk.quantity(lots), client_order_id=desk._name(slot)
        )
        desk._send(order, slot)

    _replace(OrderDesk, "market", sent)


def _orphans_left() -> None:
    stand_down = TradeKeeper._stand_down

    def stood(kept: TradeKeeper, held: int) -> None:
        if held:
            stand_down(kept, held)

    _replace(TradeKeeper, "_stand_down", stood)


# -- entries ---------------------------------------------------------------------------------------------


def _entry_sent_twice() -> None:
    market = OrderDesk.market

    def sent(desk: OrderDesk, role: str, *args: Any, **options: Any) -> None:
        for _ in range(2 if role == ENTRY else 1):
            market(desk, role, *args, **options)

    _replace(OrderDesk, "market", sent)


def _entry_not_held_back() -> None:
    def idle(kept: TradeKeeper) -> bool:
        return kept.trade is None and kept.held_lots() == 0

    _replace(TradeKeeper, "is_idle", property(idle))
    _replace(checks, "_places", lambda *_: None)  # the account's own limit would hold it back as well


def _limit_ignored() -> None:
    caps = risk._caps

    def uncapped(*args: Any) -> list[Any]:
        return [cap for cap in caps(*args) if cap.name != "max_position"]

    _replace(risk, "_caps", uncapped)


def _losses_ignored() -> None:
    _replace(risk_rules, "_reached", lambda *_: False)


def _streak_ignored() -> None:
    count = DayRules._count

    def counted(rules: DayRules, now: int, pnl: float) -> None:
        count(rules, now, pnl)
        rules.memory.streak_until = 0

    _replace(DayRules, "_count", counted)


def _halt_ignored() -> None:
    _replace(KillRules, "command", lambda *_, **__: None)


def _lift_ignored() -> None:
    _replace(KillRules, "resume", lambda _: frozenset())


def _never_enters() -> None:
    _replace(TradingStrategy, "_enter", lambda *_: None)


def _rules_not_renewed() -> None:
    _replace(VenueGrid, "renew_rules", lambda _: True)


# -- what it looks at ------------------------------------------------------------------------------------


def _margin_not_checked() -> None:
    preflight.CHECKS["margin type"] = lambda _: ok("margin type", "not looked at")


def _sentiment_early() -> None:
    learn = sentiment.learn_day

    def learnt(*args: Any, now: int, delay_ns: int) -> None:
        del delay_ns
        learn(*args, now=now, delay_ns=0)

    _replace(sentiment, "learn_day", learnt)


# -- what is remembered ----------------------------------------------------------------------------------


def _reading(change: Callable[[str, Any], Any]) -> None:
    read = StateFile.read

    def changed(file: StateFile[Any]) -> Any:
        return change(file.path.name, read(file))

    _replace(StateFile, "read", changed)


def _memory_not_loaded() -> None:
    _reading(lambda name, value: None if name.startswith("trade-") else value)


def _guard_not_loaded() -> None:
    _reading(lambda name, value: None if name == "guard.json" else value)


def _streak_forgotten() -> None:
    def forget(name: str, value: Any) -> Any:
        if name == "guard.json" and value is not None:
            value.day.streak = value.day.streak_until = 0
        return value

    _reading(forget)


def _day_forgotten() -> None:
    def forget(name: str, value: Any) -> Any:
        if name == "guard.json" and value is not None:
            value.day.opening = value.day.loss_pct = None
        return value

    _reading(forget)


def _halt_forgotten() -> None:
    def forget(name: str, value: Any) -> Any:
        if name == "guard.json" and value is not None:
            value.kill = KillMemory()
        return value

    _reading(forget)


def _memory_not_saved() -> None:
    write = StateFile.write

    def written(file: StateFile[Any], value: Any, *, waits: bool = True) -> None:
        if not file.path.name.startswith("trade-"):
            write(file, value, waits=waits)

    _replace(StateFile, "write", written)


# -- what is told ----------------------------------------------------------------------------------------


def _fees_not_counted() -> None:
    tell = Journal.trade_closed

    def dearer(journal: Journal, side: int, pnl: float, *args: Any, **options: Any) -> None:
        tell(journal, side, pnl + _FEE, *args, **options)

    _replace(Journal, "trade_closed", dearer)


def _put(keeps: Callable[[dict[str, Any]], bool], *, counted: bool) -> None:
    put = AuditFile.put

    def some(file: AuditFile, values: dict[str, Any]) -> None:
        if keeps(values):
            put(file, values)
        elif counted:
            next(file._numbers)

    _replace(AuditFile, "put", some)


def _fills_not_told() -> None:
    def keeps(values: dict[str, Any]) -> bool:
        return not (values["kind"] == "order" and values["detail"].get("event") == "OrderFilled")

    _put(keeps, counted=False)


def _audit_gap() -> None:
    seen = iter(range(1 << 62))
    _put(lambda _: next(seen) % 40 != 39, counted=True)


def _audit_out_of_order() -> None:
    encoded = AuditFile._encoded

    def swapped(file: AuditFile) -> Iterator[tuple[str, bytes]]:
        if len(file._lines) > 1:
            file._lines.rotate(1)
        yield from encoded(file)

    _replace(AuditFile, "_encoded", swapped)


def _always_says_flat() -> None:
    finish = Conductor._finish

    def finished(conductor: Conductor) -> None:
        finish(conductor)
        conductor.outcome = "flat"

    _replace(Conductor, "_finish", finished)


MUTANTS: Mapping[str, Mutant] = {
    "stop_never_placed": Mutant(_stop_never_placed, ("covered",), (20450, 20448)),
    "stop_on_wrong_side": Mutant(_stop_on_wrong_side, ("orders_serve",), (20450, 20448)),
    "stop_too_far": Mutant(_stop_too_far, ("stops_stand_right",), (20450, 20448)),
    "stop_on_last_price": Mutant(_stop_on_last_price, ("orders_serve",), (20450, 20448)),
    "stop_not_moved": Mutant(_stop_not_moved, ("stops_stand_right",), (20450, 20359)),
    "stop_cancelled_first": Mutant(_stop_cancelled_first, ("covered",), (20450, 20359)),
    "stop_loosened": Mutant(_stop_loosened, ("stop_never_loosened",), (20450, 20359)),
    "stop_late": Mutant(_stop_late, ("shortfalls", "money"), (20450, 20448, 20677, 20364)),
    "target_not_reduce_only": Mutant(_target_not_reduce_only, ("orders_serve",), (20450, 20448)),
    "target_not_resized": Mutant(
        _target_not_resized, ("targets_fit", "targets_follow"), (20450, 20448), "growing"
    ),
    "target_never_placed": Mutant(_target_never_placed, ("targets_fit",), (20448, 20045)),
    "exit_not_reduce_only": Mutant(_exit_not_reduce_only, ("orders_serve",), (20448, 20450)),
    "orphans_left": Mutant(_orphans_left, ("no_orphans",), (20450, 20448)),
    "entry_sent_twice": Mutant(_entry_sent_twice, ("one_entry_per_intent",), (20450, 20448)),
    "entry_not_held_back": Mutant(
        _entry_not_held_back, ("one_entry_per_intent", "no_orphans"), (20137, 20148, 20132, 20134)
    ),
    "limit_ignored": Mutant(_limit_ignored, ("within_limit",), (20453, 20449)),
    "never_enters": Mutant(_never_enters, ("shortfalls",), (20450, 20448, 20765)),
    "rules_not_renewed": Mutant(
        _rules_not_renewed, ("exits_happen", "within_filters", "settles"), (20450, 20448), "coarse"
    ),
    "losses_ignored": Mutant(_losses_ignored, ("limits_kept",), (20440, 20450, 20448), "limits"),
    "streak_ignored": Mutant(_streak_ignored, ("limits_kept",), (20447, 20518), "limits"),
    "halt_ignored": Mutant(_halt_ignored, ("commands_hold",), (20440, 20449, 20443), "commanded"),
    "lift_ignored": Mutant(_lift_ignored, ("commands_hold",), (20449, 20440, 20443), "commanded"),
    "margin_not_checked": Mutant(_margin_not_checked, ("margin_as_asked",), (20450, 20448), "isolated"),
    "sentiment_early": Mutant(_sentiment_early, ("sentiment_counts",), (20001, 20015, 20026), "sentiment"),
    "day_forgotten": Mutant(_day_forgotten, ("risk_across_restarts",), (20440, 20450), "limits"),
    "memory_not_loaded": Mutant(
        _memory_not_loaded, ("settles", "plans_survive", "risk_across_restarts"), (20359, 20843)
    ),
    "memory_not_saved": Mutant(_memory_not_saved, ("settles",), (20450, 20448)),
    "guard_not_loaded": Mutant(_guard_not_loaded, ("risk_across_restarts",), (20444, 20448), "limits"),
    "streak_forgotten": Mutant(
        _streak_forgotten, ("risk_across_restarts", "limits_kept"), (20444, 20530, 20532), "limits"
    ),
    "halt_forgotten": Mutant(
        _halt_forgotten, ("risk_across_restarts", "commands_hold"), (20449, 20443, 20440), "commanded"
    ),
    "fees_not_counted": Mutant(_fees_not_counted, ("money",), (20450, 20448)),
    "fills_not_told": Mutant(_fills_not_told, ("audit_complete",), (20450, 20448)),
    "audit_gap": Mutant(_audit_gap, ("audit_complete",), (20450, 20448)),
    "audit_out_of_order": Mutant(_audit_out_of_order, ("audit_complete",), (20450, 20448)),
    "always_says_flat": Mutant(_always_says_flat, ("exit_code_truthful",), (20450, 20448)),
}
