"""Paper trading: the venue's live market, orders filled by the engine's sandbox on this machine.

The sandbox forgets everything when the process ends. What can be kept is: `PaperAccount` writes the balance
into the state folder as it changes, and the next start begins with it. Positions and orders cannot be given
back to it; the strategies find themselves flat and say so (`closed_while_away`, without a result).
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.adapters.sandbox import SandboxExecutionClientConfig
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import (
    AccountId,
    AccountType,
    ActorId,
    Currency,
    InstrumentId,
    Money,
    OmsType,
    Venue,
)

from actors.faults import fail_loud, guarded
from actors.state_file import StateFile
from catalog.instruments import build_instrument, read_exchange_info, symbol_of
from configs.errors import RunFailedError
from configs.schema import RunConfig

__all__ = ["ACCOUNT_FILE", "DIFFERENCES", "PaperAccount", "PaperMemory", "paper_balance", "sandbox_config"]

ACCOUNT_FILE = "paper.json"
DIFFERENCES = (
    "fills: at the best bid or ask, beyond the quoted size one tick worse without end; limits at their price "
    "when the opposite quote reaches them, without a queue; no delay, no lost answer",
    "stops: triggered by the quotes, not by the mark price; resized by the node, for there is no closing one",
    "never: funding, liquidation, margin calls, price bands, limits on requests or on the number of orders",
    "accepted here and denied by the venue: bracket lists, prices far from the market",
    "a restart: the balance is kept, positions and orders are gone; their result is not counted",
)
_ACCOUNT = "BINANCE-001"
_LOOK_NS = 250_000_000
_ENGINE_MARGIN = Decimal("0.1")  # what the adapter writes into every perpetual; the leverage divides it


class PaperMemory(msgspec.Struct):
    """The sandbox's balance; of a position that was open when it was written it holds the fees alone."""

    asset: str
    total: str


def paper_balance(run: RunConfig, folder: Path) -> Decimal:
    """What a paper node in this folder begins with. DataError when the file cannot be trusted."""
    memory = StateFile(folder / ACCOUNT_FILE, PaperMemory).read()
    return Decimal(str(run.venue.starting_balance)) if memory is None else Decimal(memory.total)


def sandbox_config(run: RunConfig, folder: Path) -> SandboxExecutionClientConfig:
    """The sandbox of a run: its balance, leverage and fees; `folder` has the venue's exchange_info.json.

    It hears quotes only: bars would fill orders at prices of before they were sent.
    """
    taker_rate = run.venue.taker_cost - run.venue.slippage_rate  # the quotes have their spread themselves
    return SandboxExecutionClientConfig(
        Venue("BINANCE"),
        [Money.from_str(f"{paper_balance(run, folder):.8f} {_settlement(run, folder)}")],
        account_id=AccountId(_ACCOUNT),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        default_leverage=Decimal(str(run.venue.leverage)) * _ENGINE_MARGIN,
        bar_execution=False,
        trade_execution=False,
        fee_model=MakerTakerFeeModel(run.venue.maker_rate, taker_rate),
    )


def _settlement(run: RunConfig, folder: Path) -> Currency:
    known = read_exchange_info(folder / "exchange_info.json", "um")
    instrument: Any = build_instrument(known[symbol_of(run.instruments[0])])
    currency: Currency = instrument.settlement_currency
    return currency


@fail_loud
class PaperAccount(DataActor):
    """Writes the balance down whenever it has changed, four times a second at most."""

    component_name = "paper account"

    def __new__(cls, *_: object, **__: object) -> "PaperAccount":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("PAPER-001")))  # type: ignore[call-arg]

    def __init__(self, instruments: Sequence[str], folder: Path) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("PAPER-001")))
        self.failure: BaseException | None = None
        self._instruments = [InstrumentId.from_str(name) for name in instruments]
        self._file = StateFile(folder / ACCOUNT_FILE, PaperMemory)
        self._written: PaperMemory | None = None

    def on_start(self) -> None:
        """RunFailedError where the sandbox would count with another leverage than the run's."""
        for name in self._instruments:
            instrument: Any = self.cache.instrument(name)
            if instrument is None or Decimal(str(instrument.margin_init)) != _ENGINE_MARGIN:
                raise RunFailedError(
                    f"{name}: the engine's margin is not the {_ENGINE_MARGIN} that paper expects"
                )
        self._look()
        self.clock.set_timer_ns("paper", _LOOK_NS, None, None, self._on_look)

    def on_stop(self) -> None:
        """The last word."""
        self._look()

    @guarded
    def _on_look(self, event: Any) -> None:
        del event
        self._look()

    def _look(self) -> None:
        account: Any = self.cache.account(AccountId(_ACCOUNT))
        if account is None:
            return
        total = next(iter(account.balances_total().values()))
        memory = PaperMemory(str(total.currency.code), str(total.as_decimal()))
        if memory != self._written:
            self._file.write(memory)
            self._written = memory
