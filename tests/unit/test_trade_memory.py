"""A remembered trade in the venue's present tick and step."""

import msgspec
import pytest

from strategies.entries import PendingEntry, Resting
from strategies.memory import TradeMemory
from strategies.open_trade import OpenTrade
from strategies.trade import PlanState, Rung
from strategies.values import Approved

APPROVED = Approved(1, 1.58, 0.02, None, 0.5, 100.0, "risk", {})


def memory() -> TradeMemory:
    """1.58 held in lots of 0.01, stop at 3073.79 in ticks of 0.01, 0.4 closed by the first of two targets."""
    return TradeMemory(
        "ETHUSDT-PERP.BINANCE",
        held_lots=-158,
        trade=OpenTrade(
            APPROVED,
            PlanState(-1, 314_647, 307_379, 3),
            (Rung(321_286, 0, 0.25, 40), Rung(330_000, 158, 0.75, 0)),
            min_lots=1,
            entry_lots=198,
        ),
        pending=PendingEntry(APPROVED, ((0.01, 1.0),), 35, Resting(1, 300_000, 299_999), filled_lots=7),
        tick_size=0.01,
        step_size=0.01,
    )


def test_a_finer_grid_holds_the_same_quantities_and_prices() -> None:
    found = memory().on_grid(0.001, 0.001)
    assert found.held_lots == -1_580
    assert found.trade is not None
    assert found.trade.plan[:3] == (-1, 3_146_470, 3_073_790)
    assert found.trade.rungs == (Rung(3_212_860, 0, 0.25, 400), Rung(3_300_000, 1_580, 0.75, 0))
    assert (found.trade.min_lots, found.trade.entry_lots) == (10, 1_980)
    assert found.pending is not None
    assert (found.pending.lots, found.pending.filled_lots) == (350, 70)
    assert found.pending.resting == Resting(1, 3_000_000, 2_999_990)
    assert (found.tick_size, found.step_size) == (0.001, 0.001)


def test_on_a_coarser_grid_what_is_no_whole_lot_is_left_out() -> None:
    found = memory().on_grid(0.1, 0.1)
    assert found.held_lots == -15  # 1.58 is 15.8 lots of 0.1
    assert found.trade is not None
    assert found.trade.plan[:3] == (-1, 31_465, 30_738)
    assert [(r.ticks, r.lots, r.closed) for r in found.trade.rungs] == [(32_129, 0, 4), (33_000, 15, 0)]
    assert (found.trade.min_lots, found.trade.entry_lots) == (1, 19)


@pytest.mark.parametrize("grid", [(0.01, 0.01), (0.0, 0.0)])
def test_the_same_grid_or_one_that_was_never_written_down_changes_nothing(grid: tuple[float, float]) -> None:
    known = msgspec.structs.replace(memory(), tick_size=grid[0], step_size=grid[1])
    found = known.on_grid(0.01, 0.01)
    assert found == msgspec.structs.replace(known, tick_size=0.01, step_size=0.01)
