"""The run file as frozen, validated values: one file says what runs, in a backtest and live alike.

Every group is frozen and refuses unknown keys. Percentages are per cent (2.0 is 2 %), basis points 1/10,000.
`None` means absent and nothing else. Times are UTC; an interval is half-open: start <= bar open < end.
"""

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "BarInterval",
    "DataConfig",
    "Group",
    "LabelConfig",
    "LiveConfig",
    "ModelConfig",
    "RiskConfig",
    "RunConfig",
    "SizingConfig",
    "SplitConfig",
    "StopConfig",
    "StrategyConfig",
    "SyntheticConfig",
    "TargetsConfig",
    "TimeConfig",
    "TrailingConfig",
    "TreesConfig",
    "VenueConfig",
]

BAR_MINUTES = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240}
BarInterval = Literal["1m", "3m", "5m", "15m", "30m", "1h", "4h"]
_TIME_ADVICE = "write a UTC date or time such as 2024-01-31 or 2024-01-31T12:00"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_INSTRUMENT = re.compile(r"[A-Z0-9]{2,20}(-PERP)?\.BINANCE")


class Group(BaseModel):
    """A frozen group of settings; unknown keys fail."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


def _slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise ValueError("use letters, digits, '-', '_' and '.' only, beginning with a letter or digit")
    return value


def _instrument(value: str) -> str:
    if not _INSTRUMENT.fullmatch(value):
        raise ValueError("write BTCUSDT-PERP.BINANCE for a perpetual or BTCUSDT.BINANCE for spot")
    return value


def _utc(value: Any) -> Any:
    """Dates are midnight UTC; a time without a zone is UTC (nothing here is ever local time)."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(_TIME_ADVICE) from error
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    if not isinstance(value, datetime):
        raise ValueError(_TIME_ADVICE)
    if not 1970 <= value.year <= 2200:
        raise ValueError("the year must lie between 1970 and 2200")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _path(value: Path) -> Path:
    if value == Path() or "\0" in str(value):
        raise ValueError("name a folder")
    return value


Slug = Annotated[str, AfterValidator(_slug)]
InstrumentName = Annotated[str, AfterValidator(_instrument)]
UtcTime = Annotated[datetime, BeforeValidator(_utc)]
FolderPath = Annotated[Path, AfterValidator(_path)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class SyntheticConfig(Group):
    """The seeded synthetic market that stands in where a catalog has nothing (demo and tests only)."""

    seed: Seed = 7
    days: int = Field(default=120, ge=1, le=3650)
    signal_strength: NonNegative = 0.0
    start_price: Positive = 60_000.0
    annual_volatility: Positive = 0.6


class DataConfig(Group):
    """Which bars the run uses. Models see [start, test_start); the backtest trades [test_start, end)."""

    catalog: FolderPath
    bar: BarInterval = "1m"
    start: UtcTime
    test_start: UtcTime
    end: UtcTime
    max_gap_minutes: int = Field(default=180, ge=0)  # a longer hole in the bars stops the run
    synthetic: SyntheticConfig | None = None

    @property
    def bar_minutes(self) -> int:
        """Length of one bar in minutes."""
        return BAR_MINUTES[self.bar]

    @model_validator(mode="after")
    def _ordered(self) -> "DataConfig":
        if not self.start < self.test_start < self.end:
            raise ValueError(
                f"needs start < test_start < end, got {self.start:%Y-%m-%dT%H:%M} / "
                f"{self.test_start:%Y-%m-%dT%H:%M} / {self.end:%Y-%m-%dT%H:%M}"
            )
        if self.test_start.timestamp() % (60 * self.bar_minutes):
            raise ValueError(f"test_start must be a time at which a {self.bar} bar opens: {self.test_start}")
        return self


class LabelConfig(Group):
    """Triple-barrier labels (models.labels)."""

    horizon_bars: int = Field(default=120, ge=1)
    take_profit_pct: Positive = 1.0
    stop_loss_pct: Positive = 1.0
    cost_bps: NonNegative = 10.0


class TreesConfig(Group):
    """XGBoost's settings."""

    n_estimators: int = Field(default=300, ge=1, le=5000)
    max_depth: int = Field(default=4, ge=1, le=12)
    learning_rate: Positive = 0.03
    min_child_weight: NonNegative = 10.0  # in independent rows: labels that overlap share one
    subsample: float = Field(default=0.8, gt=0, le=1)
    colsample_bytree: float = Field(default=0.8, gt=0, le=1)
    reg_lambda: NonNegative = 5.0


class SplitConfig(Group):
    """Consecutive shares of the training period; what they leave over is the model's own test part."""

    train: Fraction = 0.60
    validation: Fraction = 0.15
    calibration: Fraction = 0.10
    embargo_bars: int = Field(default=60, ge=0)

    @model_validator(mode="after")
    def _room_for_test(self) -> "SplitConfig":
        if self.train + self.validation + self.calibration >= 1:
            raise ValueError("train + validation + calibration must leave a part over for the test (sum < 1)")
        return self


class ModelConfig(Group):
    """One model kind, trained per instrument: XGBoost and logistic regression, blended and calibrated."""

    name: Slug = "direction"
    bundle: FolderPath | None = (
        None  # None: the newest bundle made for this very run, trained when there is none
    )
    label: LabelConfig = LabelConfig()
    split: SplitConfig = SplitConfig()
    trees: TreesConfig = TreesConfig()
    logistic_c: Positive = 0.01
    calibration: Literal["sigmoid", "isotonic", "none"] = "sigmoid"


class SizingConfig(Group):
    """How large a position is wanted before limits cut it."""

    method: Literal["risk", "fraction"] = "risk"
    risk_per_trade_pct: Positive = 0.5  # method risk: equity lost when the stop is hit, costs included
    fraction_pct: Positive = 10.0  # method fraction: notional as a share of equity
    confidence_weighted: bool = True
    max_position_pct: Positive = 10.0


class StopConfig(Group):
    """The protective stop: always there, never widened."""

    pct: Positive = 2.0
    break_even_after_pct: Positive | None = None


class TargetsConfig(Group):
    """The profit target, or None for no target."""

    pct: Positive | None = 4.0


class TrailingConfig(Group):
    """A stop that follows the price: armed at a gain of `activation_pct`, `distance_pct` behind the close."""

    activation_pct: Positive
    distance_pct: Positive


class TimeConfig(Group):
    """Limits in bars: out after `max_bars`; `cool_off_bars` whole bars flat before the next entry."""

    max_bars: int | None = Field(default=None, ge=1)
    cool_off_bars: int = Field(default=0, ge=0)


class StrategyConfig(Group):
    """One strategy on one instrument; `signal` belongs to the strategy's own Params."""

    use: Slug
    instrument: InstrumentName
    name: Slug | None = None
    model: Slug | None = None
    allow_short: bool = True
    signal: dict[str, Any] = {}
    sizing: SizingConfig = SizingConfig()
    stop: StopConfig = StopConfig()
    targets: TargetsConfig = TargetsConfig()
    trailing: TrailingConfig | None = None
    time: TimeConfig = TimeConfig()

    @property
    def label(self) -> str:
        """The strategy's name in orders, audit and reports."""
        return self.name or f"{self.use}-{self.instrument.split('.')[0]}"


class RiskConfig(Group):
    """Limits of the whole account."""

    max_leverage: Positive = 3.0
    max_notional: Positive | None = None
    liquidation_buffer_pct: NonNegative = 20.0  # share of equity kept free of margin


class VenueConfig(Group):
    """The simulated venue: what trading costs and how it behaves."""

    starting_balance: Positive = 100_000.0
    maker_fee_bps: float = Field(default=2.0, ge=-5, le=100)
    taker_fee_bps: float = Field(default=5.0, ge=0, le=100)
    slippage_bps: float = Field(default=1.0, ge=0, le=200)
    leverage: float = Field(default=5.0, ge=1, le=125)
    latency_ms: int = Field(default=0, ge=0, le=600_000)
    funding: Literal["auto", "required", "off"] = "auto"  # auto: charged where the catalog has rates
    adaptive_high_low: bool = False

    @property
    def maker_rate(self) -> Decimal:
        """What a resting fill costs as a share of notional, exact."""
        return _rate(self.maker_fee_bps)

    @property
    def slippage_rate(self) -> Decimal:
        """The part of `taker_cost` that is slippage."""
        return _rate(self.slippage_bps)

    @property
    def taker_cost(self) -> Decimal:
        """What taking liquidity costs as a share of notional, exact: taker fee plus slippage."""
        return _rate(self.taker_fee_bps) + self.slippage_rate


def _rate(bps: float) -> Decimal:
    return Decimal(str(bps)) / 10_000


class LiveConfig(Group):
    """Addresses of the live venue; None means the venue's own."""

    base_url_http: str | None = None
    base_url_ws: str | None = None
    base_url_ws_trading: str | None = None


class RunConfig(Group):
    """One run, whole."""

    name: Slug
    seed: Seed = 7
    data: DataConfig
    models: tuple[ModelConfig, ...] = ()
    forecasts: Literal["precomputed", "streaming"] = "precomputed"
    strategies: tuple[StrategyConfig, ...] = Field(min_length=1)
    risk: RiskConfig = RiskConfig()
    venue: VenueConfig = VenueConfig()
    live: LiveConfig = LiveConfig()

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments traded, each once, in the order of the strategies."""
        return tuple(dict.fromkeys(s.instrument for s in self.strategies))

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        names = [m.name for m in self.models]
        labels = [s.label for s in self.strategies]
        for what, values in (("model", names), ("strategy", labels)):
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"two entries are called {what} '{value}'; names must differ")
        for strategy in self.strategies:
            if strategy.model is not None and strategy.model not in names:
                known = ", ".join(names) or "none"
                raise ValueError(
                    f"strategy '{strategy.label}' asks for model '{strategy.model}'; known: {known}"
                )
        if len(self.instruments) != len(self.strategies):
            raise ValueError(
                "one strategy per instrument: the protective stop covers the account's whole position"
            )
        if len({"-PERP." in i for i in self.instruments}) > 1:
            raise ValueError("perpetuals and spot cannot share one account; use two run files")
        return self
