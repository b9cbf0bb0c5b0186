"""The components of a node that runs, and how one joins, leaves or takes another's place. The node's thread.

A strategy that takes over from another takes its place in the engine as well: position and open orders are
the engine's under the name of who opened them, and their events come to who bears it. So it is given the same
name and adopts what it finds, as after a restart; the stop stays at the venue all the while.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from nautilus_trader.model import BarType

from actors.control import Control
from actors.faults import CarryOn
from actors.forecaster import Forecaster, ForecastSpec
from actors.guard import Guard
from actors.state_file import StateFile
from catalog.columns import live_bar_type
from configs.errors import RunFailedError
from configs.schema import RunConfig, StrategyConfig
from live.operate.coin_books import begin_book, book_of
from live.operate.roster import trade_path
from live.operate.workshop import Newcomer, named_predictors
from models.correlation import CorrelationTracker
from models.predictor import Predictor
from strategies.assembly import Assembly, ModelFeed
from strategies.base import TradingStrategy
from strategies.holdings import Coins
from strategies.memory import TradeMemory
from strategies.setup import Instrument

__all__ = ["Crew", "Estate", "Follower", "Member"]


class Follower(Protocol):
    """What looks at every instrument that is traded."""

    def follow(self, kind: BarType, instrument: Instrument) -> None:
        """One more."""


class Estate(NamedTuple):
    """What a strategy leaves to who takes its place: its trade, and on spot the book of its coins."""

    trade: TradeMemory | None
    coins: Coins | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A strategy at work: its entry, the forecaster that serves it, and its place in the engine."""

    config: StrategyConfig
    trader: TradingStrategy
    forecaster: Forecaster | None
    feed: ModelFeed | None
    seat: str
    order_tag: str
    bundles: Mapping[str, Predictor] = MappingProxyType({})

    @property
    def hashes(self) -> dict[str, str]:
        """Of its models, by name."""
        return {name: predictor.model_hash for name, predictor in self.bundles.items()}


class Crew:
    """The members by label. `traders` is the list that who looks at every strategy has, kept up to date."""

    def __init__(
        self,
        run: RunConfig,
        assembly: Assembly,
        traders: list[TradingStrategy],
        feeds: Mapping[str, ModelFeed],
        specs: Mapping[str, ForecastSpec],
        guard_file: Path,
        policy: CarryOn,
    ) -> None:
        self.traders = traders
        self.members: dict[str, Member] = {}
        self._bar = run.data.bar
        self._builder = assembly.builder
        self._guard: Guard = assembly.guard
        self._folder = guard_file.parent
        self._policy = policy
        self._control: Control | None = None
        self._followers: tuple[Follower, ...] = ()
        # never let go: the engine's objects must end on its thread, and cycles are collected on any
        self._kept: list[Any] = []
        named = {forecaster.component_name: forecaster for forecaster in assembly.forecasters}
        for index, (config, trader) in enumerate(zip(run.strategies, assembly.strategies, strict=True)):
            self.members[config.label] = Member(
                config=config,
                trader=trader,
                forecaster=named.get(f"FORECASTER-{config.label}"),
                feed=feeds.get(config.instrument),
                seat=config.label,
                order_tag=f"{index:02d}",
                bundles=named_predictors(config, specs.get(config.instrument)),
            )

    def use(self, run: RunConfig) -> None:
        """The run whose strategies they are: its instruments are those that may be entered."""
        self._builder.run = run

    def serve(self, control: Control, followers: Iterable[Follower]) -> None:
        """Take who adds to the node and takes from it, and who has to hear of new instruments."""
        self._control, self._followers = control, tuple(followers)

    @property
    def control(self) -> Control:
        """Who adds and takes away."""
        assert self._control is not None
        return self._control

    def of_instrument(self, instrument: str) -> Member | None:
        """Who trades it."""
        return next((m for m in self.members.values() if m.config.instrument == instrument), None)

    def kind(self, instrument: str) -> BarType:
        """The instrument's bars."""
        return BarType.from_str(live_bar_type(instrument, self._bar))

    # -- joining, leaving, taking over ---------------------------------------------------------------------

    def join(self, new: Newcomer, tracker: CorrelationTracker | None) -> Member:
        """Let a strategy begin on an instrument that nobody trades; nothing is left of one that fails."""
        name = new.config.instrument
        self._builder.instruments[name] = new.instrument
        kind = self.kind(name)
        self._file(new.config.label).remove()  # of another time
        begin_book(self._folder, new.config.label, name, new.newest_trade)
        before = self._guard.tracker
        self.control.follow(kind)
        self._guard.follow([*self._kinds(), kind], tracker)
        for follower in self._followers:
            follower.follow(kind, new.instrument)
        try:
            return self._begin(new.config, new.feed, new.config.label, self._free_tag(), new.bundles)
        except Exception:
            self.control.forget(kind)
            self._guard.follow(self._kinds(), before)
            raise

    def dismiss(self, label: str, tracker: CorrelationTracker | None) -> None:
        """Take a strategy from the node that holds nothing and has nothing under way."""
        member = self.members[label]
        self._end(member)
        self.control.forget(self.kind(member.config.instrument))
        self._guard.follow(self._kinds(), tracker)
        self._file(label).remove()

    def hand_on(self, old: str, new: str, *, takes_trade: bool) -> Estate:
        """Copy what is remembered of a trade, or see to it that nothing is; returns it for a way back.

        On spot what is held is copied as well, dust at least.

        It is in a file of its strategy's name. Before it is written down who trades: a start after a kill
        looks under the one name or the other.
        """
        care = self.members[old].trader.care
        if care is not None:
            care.save()
        memory = self._file(old).read()
        if not takes_trade or memory is None:
            self._file(new).remove()
        elif old != new:
            self._file(new).write(memory)
        coins = book_of(self._folder, old).read()
        if coins is not None and old != new:
            book_of(self._folder, new).write(coins)
        return Estate(memory, coins)

    def replace(self, label: str, new: Newcomer) -> Member:
        """Put a strategy in another's place, between two bars; both trade the same instrument.

        What the other one remembers has been handed on. It may raise anything: then `bring_back` it.
        """
        old, name = self.members[label], new.config.instrument
        kind = self.kind(name)
        control = self.control
        control.subscribe_quotes(kind.instrument_id)  # the stream goes on while nobody else listens
        try:
            self._end(old)
            self._builder.instruments[name] = new.instrument
            return self._begin(new.config, new.feed, old.seat, old.order_tag, new.bundles)
        finally:
            control.unsubscribe_quotes(kind.instrument_id)

    def bring_back(self, old: Member, estate: Estate) -> None:
        """Let one go on that was to be replaced, with what it remembered and what it was paused for."""
        label, config = old.config.label, old.config
        if self.members.get(label) is old:
            return
        if estate.trade is not None:  # of the same name, its successor had that file
            self._file(label).write(estate.trade)
        if estate.coins is not None:
            book_of(self._folder, label).write(estate.coins)
        self._builder.instruments[config.instrument] = old.trader.instrument
        member = self._begin(config, old.feed, old.seat, old.order_tag, old.bundles)
        member.trader.inherit_pauses(old.trader)

    def change_models(self, label: str, new: Newcomer) -> None:
        """Let the strategy's forecaster go on with other models, from the next bar."""
        member = self.members[label]
        if member.forecaster is None or new.feed is None:
            raise RunFailedError(f"{label} has no forecaster")
        member.forecaster.change_over(new.feed.models, new.feed.source)
        self.members[label] = replace(member, feed=new.feed, bundles=new.bundles)

    # -- how -----------------------------------------------------------------------------------------------

    def _begin(
        self,
        config: StrategyConfig,
        feed: ModelFeed | None,
        seat: str,
        tag: str,
        bundles: Mapping[str, Predictor],
    ) -> Member:
        trader, forecaster = self._builder.build(
            config, tag, feed, where=f"strategy {config.label}", seat=seat
        )
        parts: tuple[Any, ...] = () if forecaster is None else (forecaster,)
        self._kept += (trader, *parts)
        self._policy.cover_strategy(trader, *parts)
        try:
            if forecaster is not None:
                self.control.add_component(forecaster)
            self.control.add_trader(trader)
            if not trader.is_running():
                raise RunFailedError("its start failed, see the alarm")
        except Exception:
            self._policy.uncover(trader)
            self._clear_away(trader, forecaster)
            raise
        member = Member(
            config=config,
            trader=trader,
            forecaster=forecaster,
            feed=feed,
            seat=seat,
            order_tag=tag,
            bundles=bundles,
        )
        self.members[config.label] = member
        self.traders.append(trader)
        self._guard.repeat()
        return member

    def _end(self, member: Member) -> None:
        if member.trader.care is not None:
            member.trader.care.save()
        self._take_out(member.trader, member.forecaster)
        self._policy.uncover(member.trader)
        self.traders.remove(member.trader)
        self._kept += (member.trader, member.forecaster)
        del self.members[member.config.label]

    def _take_out(self, trader: TradingStrategy, forecaster: Forecaster | None) -> None:
        self.control.take_trader_out(trader)
        if forecaster is not None:
            self.control.take_component_out(forecaster)

    def _clear_away(self, trader: TradingStrategy, forecaster: Forecaster | None) -> None:
        """Take out as much as there is of one that failed: the engine may not know the one or the other."""
        with suppress(RuntimeError):
            self.control.take_trader_out(trader)
        if forecaster is not None:
            with suppress(RuntimeError):
                self.control.take_component_out(forecaster)

    def forget_trade(self, label: str) -> None:
        """Remove the memory of a strategy that has been replaced."""
        if label not in self.members:
            self._file(label).remove()
            book_of(self._folder, label).remove()

    def _file(self, label: str) -> StateFile[TradeMemory]:
        return StateFile(trade_path(self._folder, label), TradeMemory)

    def _kinds(self) -> list[BarType]:
        return [self.kind(member.config.instrument) for member in self.members.values()]

    def _free_tag(self) -> str:
        taken = {member.order_tag for member in self.members.values()}
        return next(tag for tag in (f"{n:02d}" for n in range(100)) if tag not in taken)
