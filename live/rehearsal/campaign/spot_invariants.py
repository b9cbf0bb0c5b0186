"""What must hold of every spot scenario: what futures have as well, and what only coins can get wrong.

There are no positions on spot: what is the node's of a balance only its own book of coins says. That book,
the account and the money are held against each other here. What is excused is said where it is.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from configs.trading import SizingConfig
from live.rehearsal.campaign.evidence import Evidence, Violation
from live.rehearsal.campaign.exits import exits_happen
from live.rehearsal.campaign.exposure import covered, no_orphans
from live.rehearsal.campaign.invariants import (
    beyond_share,
    exit_code_truthful,
    one_entry_per_intent,
    settles,
    stop_never_loosened,
    within_filters,
)
from live.rehearsal.campaign.keeping import (
    CENT,
    audit_complete,
    balance_agrees,
    guard_remembers,
    has_changed_since,
)
from live.rehearsal.campaign.timeline import (
    details,
    episodes_of,
    fill_walls,
    fills_of,
    instrument_symbol,
    is_near_kill,
    states,
)

__all__ = ["SPOT_INVARIANTS", "holdings_agree", "spot_money", "within_share"]

ZERO = Decimal(0)
_UNIT = Decimal("1e-8")
_RATE = Decimal("0.001")
_LOST_NS = 1_000_000_000  # of the audit stream, by a kill
_GUESSED = Decimal("0.12")  # a price that nobody told is the market's of another moment: a jump away at most
_EQUITY_SLACK = Decimal("1.005")


# -- coins -----------------------------------------------------------------------------------------------


def holdings_agree(evidence: Evidence) -> list[Violation]:
    """The node's book of coins is what the account has of them, free and locked, to the last digit.

    A fill that the engine made up has no fee: the book guesses the dearer one. What the venue did at the very
    end of the last life is not in the book yet, and a node that said it was unsettled is not judged.
    """
    if not evidence.settled or not evidence.lives or evidence.lives[-1].outcome not in ("flat", "protected"):
        return []
    totals = {
        row["asset"]: Decimal(row["free"]) + Decimal(row["locked"]) for row in evidence.ledger["assets"]
    }
    books, unpriced = _books(evidence), _unpriced(evidence)
    found = []
    for symbol, spec in evidence.specs.items():
        if has_changed_since(evidence, symbol, evidence.lives[-1]):
            continue
        total, held = totals.get(spec.base, ZERO), books.get(symbol, (ZERO, ZERO))[0]
        if abs(total - held) > unpriced.get(symbol, ZERO) * _RATE:
            text = f"{symbol}: the book holds {held}, the account {total} {spec.base}"
            found.append(Violation("holdings_agree", text))
    return found


def _books(evidence: Evidence) -> dict[str, tuple[Decimal, Decimal]]:
    """Coins held and their cost by symbol, as the node wrote them down last."""
    found = {}
    for name, file in evidence.node_view.state.items():
        state = file.get("state") if isinstance(file, dict) and name.startswith("coins-") else None
        if isinstance(state, dict):
            symbol = instrument_symbol(state["instrument"])
            found[symbol] = Decimal(state["amount"]), Decimal(state["cost"])
    return found


def _unpriced(evidence: Evidence) -> dict[str, Decimal]:
    """What the node was told as filled without a price, by symbol: made up of an order's state."""
    found: dict[str, Decimal] = {}
    for record, detail in details(evidence, "order", event="OrderFilled"):
        if not Decimal(detail["price"]):
            symbol = instrument_symbol(record["instrument"])
            found[symbol] = found.get(symbol, ZERO) + Decimal(detail["quantity"])
    return found


def within_share(evidence: Evidence) -> list[Violation]:
    """No holding grows beyond its share of the equity, at the lowest of the last closes that the node saw."""
    found = list[Violation]()
    equity = _highest_equity(evidence) * _EQUITY_SLACK
    for strategy in evidence.scenario.run["strategies"]:
        sizing = SizingConfig.model_validate(strategy.get("sizing", {}))
        most = equity * Decimal(str(sizing.max_position_pct)) / 100
        found += beyond_share(evidence, strategy["instrument"], most)
    return found


def _highest_equity(evidence: Evidence) -> Decimal:
    """Cash and coins at the best prices there were: no less than the account was ever worth."""
    best = {symbol: max(m.mark for m in moments) for symbol, moments in states(evidence).items()}
    cash = highest = Decimal(evidence.scenario.balance)
    held = dict.fromkeys(best, ZERO)
    for fill in fills_of(evidence):
        held[fill.symbol] = held.get(fill.symbol, ZERO) + fill.signed
        cash -= fill.signed * fill.price
        highest = max(highest, cash + sum((held[name] * best[name] for name in best), ZERO))
    return highest


# -- money -----------------------------------------------------------------------------------------------


def spot_money(evidence: Evidence) -> list[Violation]:
    """The venue's ledger adds up, the node knows its cash, and what it says it has earned is what came in.

    What the node's trades have earned, less what the coins still held have cost, is the change of the cash,
    to the cent; but for fills whose price nobody told, and trades that a kill may have cut from the audit.
    """
    found = [Violation("money", text) for text in _ledger_gaps(evidence)]
    found += balance_agrees(evidence)
    return found + [Violation("money", text) for text in _earned(evidence)]


def _ledger_gaps(evidence: Evidence) -> Iterator[str]:
    """Where balances are not their entries, or entries not the fills at the venue's commission."""
    ledger = evidence.ledger
    booked = {asset: Decimal(amount) for asset, amount in ledger["starting"].items()}
    due = dict(booked)
    for row in ledger["ledger"]:
        booked[row["asset"]] = booked.get(row["asset"], ZERO) + Decimal(row["amount"])
    for fill in fills_of(evidence):
        spec = evidence.specs[fill.symbol]
        is_buy, worth = fill.side == "BUY", fill.price * fill.quantity
        received = fill.quantity if is_buy else worth
        if abs(fill.commission - received * _RATE) > _UNIT:
            yield f"fill {fill.trade_id} paid {fill.commission} of commission, {received * _RATE} is due"
        coins, cash = (fill.quantity, -worth) if is_buy else (-fill.quantity, worth)
        due[spec.base] = due.get(spec.base, ZERO) + coins - (fill.commission if is_buy else ZERO)
        due[spec.quote] = due.get(spec.quote, ZERO) + cash - (ZERO if is_buy else fill.commission)
    for row in ledger["assets"]:
        total = Decimal(row["free"]) + Decimal(row["locked"])
        for own in (booked.get(row["asset"], ZERO), due.get(row["asset"], ZERO)):
            if total != own:
                yield f"{row['asset']}: the venue says {total}, reckoned {own}"


def _earned(evidence: Evidence) -> Iterator[str]:
    if not evidence.settled or not evidence.lives or _is_cut_short(evidence):
        return
    told = sum((Decimal(repr(d["pnl"])) for _, d in details(evidence, "trade", what="closed")), ZERO)
    costs = sum((cost for _, cost in _books(evidence).values()), ZERO)
    cash = sum((Decimal(row["amount"]) for row in evidence.ledger["income"]), ZERO)
    prices = {symbol: max(m.mark for m in moments) for symbol, moments in states(evidence).items()}
    guessed = sum((q * prices.get(symbol, ZERO) for symbol, q in _unpriced(evidence).items()), ZERO)
    if abs(told - costs - cash) >= CENT + guessed * _GUESSED:
        yield f"the node says that {told - costs:.4f} came in, the venue's cash has changed by {cash:.4f}"


def _is_cut_short(evidence: Evidence) -> bool:
    """Whether the end of a trade may be missing: cut by a kill, or after the last life."""
    last, walls = evidence.lives[-1], fill_walls(evidence)
    if any(has_changed_since(evidence, symbol, last) for symbol in evidence.specs):
        return True
    ends = [walls.get(e.last, 0) for e in episodes_of(evidence) if e.ended_ms is not None]
    return any(is_near_kill(evidence, at_ns, _LOST_NS) for at_ns in ends)


SPOT_INVARIANTS: Mapping[str, Callable[[Evidence], list[Violation]]] = {
    "settles": settles,
    "holdings_agree": holdings_agree,
    "within_limit": within_share,
    "one_entry_per_intent": one_entry_per_intent,
    "no_orphans": no_orphans,
    "covered": covered,
    "within_filters": within_filters,
    "risk_across_restarts": guard_remembers,
    "audit_complete": audit_complete,
    "money": spot_money,
    "stop_never_loosened": stop_never_loosened,
    "exit_code_truthful": exit_code_truthful,
    "exits_happen": exits_happen,
}
