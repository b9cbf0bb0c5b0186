"""How a strategy trades: the groups of a run file from the size of an order to the limits of the account.

Percentages are per cent (2.0 is 2 %); a strategy's distances and gains are shares of its entry price, limits
shares of equity. `None` means absent and nothing else. Nothing here computes; `strategies` and `actors` do.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.groups import Group, InstrumentName, NonNegative, Percent, Positive

__all__ = [
    "DayLimits",
    "EntryConfig",
    "KillSwitch",
    "PerformanceGuard",
    "PortfolioLimits",
    "PositionLimits",
    "RegimeSizing",
    "RiskConfig",
    "ScaleInConfig",
    "SizingConfig",
    "StopConfig",
    "TargetsConfig",
    "TimeConfig",
    "TrailingConfig",
    "Tranche",
]

Multiplier = Annotated[float, Field(ge=0, le=3)]


class RegimeSizing(Group):
    """Multipliers of the size by regime; several that apply are multiplied."""

    low_volatility: Multiplier = 1.3
    high_volatility: Multiplier = 0.7
    against_trend: Multiplier = 0.5
    ranging: Multiplier = 1.0


class SizingConfig(Group):
    """How large a position is wanted before limits cut it.

    `risk`: what is lost at the stop, costs included, is `risk_per_trade_pct` of equity. `fraction`: notional
    is `fraction_pct` of equity. `volatility`: notional such that its annualised volatility is
    `target_volatility_pct` of equity. `kelly`: `kelly_share` of the Kelly fraction that probability, stop and
    target imply, as the risk of the trade, at most `kelly_cap_pct` of equity.
    """

    method: Literal["risk", "fraction", "volatility", "kelly"] = "risk"
    risk_per_trade_pct: Percent = 0.5
    fraction_pct: Positive = 10.0
    target_volatility_pct: Positive = 20.0
    kelly_share: float = Field(default=0.25, gt=0, le=1)
    kelly_cap_pct: Percent = 2.0
    confidence_weighted: bool = True
    regime: RegimeSizing | None = None
    max_position_pct: Positive = 10.0


class StopConfig(Group):
    """The protective stop: always there, never widened.

    `percent`: `pct` from the entry. `atr`: `atr_multiple` times ATR(14). `structure`: `buffer_pct` beyond the
    lowest low (highest high for a short) of the last 20 bars. `volatility`: `volatility_multiple` times the
    root mean square of a one-bar return over 20 bars, scaled to `volatility_bars`. A distance that the
    market gives is kept within [min_pct, max_pct]. Break-even is the first entry's price, costs and additions
    aside.
    """

    method: Literal["percent", "atr", "structure", "volatility"] = "percent"
    pct: Annotated[float, Field(gt=0, lt=100)] = 2.0
    atr_multiple: Positive = 2.0
    buffer_pct: NonNegative = 0.1
    volatility_multiple: Positive = 2.0
    volatility_bars: int = Field(default=60, ge=1)
    min_pct: Percent = 0.1
    max_pct: Percent = 50.0
    break_even_after_pct: Positive | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "StopConfig":
        if self.min_pct > self.max_pct:
            raise ValueError(f"min_pct ({self.min_pct}) must not lie above max_pct ({self.max_pct})")
        return self


class Tranche(Group):
    """A part of the position, `close_pct` of it, to be closed at a gain of `pct`."""

    pct: Positive
    close_pct: Percent


class TargetsConfig(Group):
    """The profit target: one at `pct`, or `tranches`, or neither.

    Tranches that close less than 100 % leave a rest to the stop and the other exits.
    """

    pct: Positive | None = None
    tranches: tuple[Tranche, ...] = Field(default=(), max_length=5)

    @model_validator(mode="after")
    def _one_kind(self) -> "TargetsConfig":
        if self.pct is not None and self.tranches:
            raise ValueError("give pct for one target or tranches for several, not both")
        gains = [t.pct for t in self.tranches]
        if gains != sorted(set(gains)):
            raise ValueError(f"tranches must be at growing gains, got {gains}")
        if sum(t.close_pct for t in self.tranches) > 100.0 + 1e-9:
            raise ValueError("tranches close more than 100 % of the position")
        return self

    @property
    def ladder(self) -> tuple[tuple[float, float], ...]:
        """(distance, share of the position) of every target, nearest first, both as fractions."""
        if self.pct is not None:
            return ((self.pct / 100.0, 1.0),)
        return tuple((t.pct / 100.0, t.close_pct / 100.0) for t in self.tranches)


class ScaleInConfig(Group):
    """Additions to a position that has moved: at each gain of `at_pct`, `add_pct` of the first quantity.

    Gains are of the first entry price. Negative ones, additions into a loss, must be asked for.
    """

    at_pct: tuple[float, ...] = Field(default=(2.0, 5.0), min_length=1, max_length=2)
    add_pct: Percent = 25.0
    into_loss: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "ScaleInConfig":
        if any(gain == 0.0 for gain in self.at_pct) or len(set(self.at_pct)) < len(self.at_pct):
            raise ValueError(f"at_pct must be different gains, none of them 0, got {list(self.at_pct)}")
        sides = [[g for g in self.at_pct if g > 0.0], [-g for g in self.at_pct if g < 0.0]]
        if any(side != sorted(side) for side in sides) or (all(sides) and len(self.at_pct) > 1):
            raise ValueError(
                f"at_pct must grow away from the entry, all on one side, got {list(self.at_pct)}"
            )
        if any(gain < 0.0 for gain in self.at_pct) and not self.into_loss:
            raise ValueError("at_pct below 0 adds into a loss: set into_loss: true if that is meant")
        return self


class TrailingConfig(Group):
    """A stop that follows the price: armed at a gain of `activation_pct`, then behind every close.

    By `distance_pct` of the close, or by `distance_atr` times ATR(14).
    """

    activation_pct: Positive
    distance_pct: Percent | None = None
    distance_atr: Positive | None = None

    @model_validator(mode="after")
    def _one_distance(self) -> "TrailingConfig":
        if (self.distance_pct is None) == (self.distance_atr is None):
            raise ValueError("give either distance_pct or distance_atr")
        return self


class TimeConfig(Group):
    """Limits in time: out after `max_bars` or `max_hours`, whichever comes first (hours as bars: a hole in
    the data does not count).

    `cool_off_bars`: whole bars flat before the next entry. `flat_before_midnight_minutes`: no position and no
    entry in the last minutes of each UTC day. `flat_weekend`: none from Saturday 00:00 to Monday 00:00 UTC.
    """

    max_bars: int | None = Field(default=None, ge=1)
    max_hours: Positive | None = None
    cool_off_bars: int = Field(default=0, ge=0)
    flat_before_midnight_minutes: int | None = Field(default=None, ge=1, le=1380)
    flat_weekend: bool = False


class EntryConfig(Group):
    """How an entry is sent.

    `limit` and `post_only` rest `offset_bps` behind the decision's close. After `timeout_bars` the rest is
    cancelled, moved to the price of then (`reprice`, at most `max_reprices` times and `max_chase_bps` away
    from the first price), or taken at the market (if that has not moved farther either). A post-only order
    that would take is refused by the venue and counts as one that timed out.
    """

    order: Literal["market", "limit", "post_only"] = "market"
    offset_bps: NonNegative = 0.0
    timeout_bars: int = Field(default=3, ge=1)
    on_timeout: Literal["cancel", "reprice", "market"] = "cancel"
    max_reprices: int = Field(default=3, ge=1, le=100)
    max_chase_bps: Positive = 20.0

    @model_validator(mode="after")
    def _post_only_rests(self) -> "EntryConfig":
        if self.order == "post_only" and self.on_timeout == "market":
            raise ValueError("a post_only entry must not become a market order: use cancel or reprice")
        return self


class PositionLimits(Group):
    """What one intent is held against when it is sent; what protects it later is not counted.

    `price_sanity_pct` is of the last quote or close.
    """

    max_risk_per_trade_pct: Percent = 2.0
    max_positions: int = Field(default=10, ge=1)
    max_positions_per_symbol: int = Field(default=1, ge=1)
    max_open_orders: int = Field(default=50, ge=1)
    price_sanity_pct: Percent = 5.0
    symbols: tuple[InstrumentName, ...] | None = None  # None: every instrument of the run


class LowProfit(Group):
    """Pause a symbol whose last `trades` trades brought less than `min_pnl_pct` of equity in sum."""

    trades: int = Field(default=10, ge=1)
    min_pnl_pct: float = -1.0
    pause_hours: Positive = 24.0


class DayLimits(Group):
    """Limits of one trading day, which begins at `starts_at_hour` UTC. None switches a limit off."""

    starts_at_hour: int = Field(default=0, ge=0, le=23)
    max_loss_pct: Percent | None = 3.0
    max_entries_hour: int | None = Field(default=None, ge=1)
    max_entries_day: int | None = Field(default=None, ge=1)
    loss_streak: int | None = Field(default=10, ge=1)
    loss_streak_pause_minutes: Positive = 120.0
    stop_out_pause_minutes: NonNegative = 0.0
    low_profit: LowProfit | None = None


class PortfolioLimits(Group):
    """Limits of all positions together, as shares of equity.

    `drawdown_steps`: (drawdown from the peak in per cent, multiplier of sizes), growing; from
    `max_drawdown_pct` on no new entries. Correlation is Pearson's of hourly returns over `correlation_days`;
    symbols at or above `cluster_correlation` in size, or unknown yet, form clusters, each with at most
    `max_cluster_risk_pct` of equity at risk.
    """

    max_gross_pct: Positive = 300.0
    max_net_pct: Positive = 200.0
    max_side_pct: Positive = 200.0
    correlation_days: int = Field(default=30, ge=1, le=365)
    cluster_correlation: float = Field(default=0.7, gt=0, le=1)
    max_cluster_risk_pct: Percent = 10.0
    drawdown_steps: tuple[tuple[float, float], ...] = ((5.0, 0.8), (10.0, 0.6), (15.0, 0.4))
    max_drawdown_pct: Percent = 20.0

    @model_validator(mode="after")
    def _steps_fall(self) -> "PortfolioLimits":
        depths = [depth for depth, _ in self.drawdown_steps]
        factors = [factor for _, factor in self.drawdown_steps]
        if depths != sorted(set(depths)) or factors != sorted(factors, reverse=True):
            raise ValueError("drawdown_steps must grow in drawdown and fall in multiplier")
        if any(not 0.0 < depth < 100.0 for depth in depths) or any(not 0.0 < f <= 1.0 for f in factors):
            raise ValueError("drawdown_steps are (drawdown in per cent, multiplier in (0, 1])")
        return self


class Thresholds(Group):
    """A level of the performance guard: entered when any of the measures is worse."""

    min_win_rate: float = Field(ge=0, le=1)
    min_expectancy_r: float  # mean R multiple of a trade
    min_profit_factor: NonNegative
    max_drawdown_r: Positive  # drawdown of the sum of R multiples over the window


class PerformanceGuard(Group):
    """NORMAL -> REDUCED -> PAUSED on the last `window` closed trades, never on fewer than `min_trades`.

    A mode is left when every measure is better than its threshold by `hysteresis` of it. PAUSED ends after
    `pause_hours` in probation: REDUCED at `probation_multiplier`, judged anew after `probation_trades`.
    """

    window: int = Field(default=30, ge=2)
    min_trades: int = Field(default=20, ge=2)
    reduced: Thresholds = Thresholds(
        min_win_rate=0.25, min_expectancy_r=-0.3, min_profit_factor=0.6, max_drawdown_r=8.0
    )
    paused: Thresholds = Thresholds(
        min_win_rate=0.15, min_expectancy_r=-0.6, min_profit_factor=0.3, max_drawdown_r=15.0
    )
    reduced_multiplier: float = Field(default=0.5, gt=0, le=1)
    hysteresis: float = Field(default=0.1, ge=0, le=1)
    pause_hours: Positive = 24.0
    probation_multiplier: float = Field(default=0.25, gt=0, le=1)
    probation_trades: int = Field(default=10, ge=1)


class KillSwitch(Group):
    """HALTED, until an explicit command: what triggers it and what it does with open positions.

    `freeze` cancels entries and keeps the positions with their protection, `flatten` closes them as well.
    """

    action: Literal["freeze", "flatten"] = "freeze"
    max_drawdown_pct: Percent | None = 30.0
    max_daily_loss_pct: Percent | None = 8.0
    stale_data_pause_secs: Positive | None = 600.0  # beyond the bar's own length
    stale_data_halt_secs: Positive | None = None
    max_rejections: int | None = Field(default=5, ge=1)  # of orders, within `rejection_window_minutes`
    rejection_window_minutes: Positive = 10.0


class RiskConfig(Group):
    """Limits of the whole account."""

    max_leverage: Positive = 3.0
    max_notional: Positive | None = None
    liquidation_buffer_pct: NonNegative = 20.0  # share of equity kept free of margin
    mode_max_age_secs: Positive = 300.0  # beyond the bar's own length; an older risk mode counts as PAUSED
    position: PositionLimits = PositionLimits()
    day: DayLimits = DayLimits()
    portfolio: PortfolioLimits = PortfolioLimits()
    performance: PerformanceGuard | None = PerformanceGuard()
    kill_switch: KillSwitch = KillSwitch()
    max_order_rate_per_sec: int = Field(default=20, ge=1)  # live: beyond it nothing is entered
