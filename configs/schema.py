"""The run file as frozen, validated values: one file says what runs, in a backtest and live alike.

Every group is frozen and refuses unknown keys. Percentages are per cent (2.0 is 2 %), basis points 1/10,000.
`None` means absent and nothing else. Times are UTC; an interval is half-open: start <= bar open < end.
"""

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, model_validator

from configs.errors import ConfigError
from configs.groups import (
    FolderPath,
    Fraction,
    Group,
    InstrumentName,
    NonNegative,
    Positive,
    Seed,
    Slug,
    UtcTime,
)
from configs.trading import (
    EntryConfig,
    RiskConfig,
    ScaleInConfig,
    SizingConfig,
    StopConfig,
    TargetsConfig,
    TimeConfig,
    TrailingConfig,
)

__all__ = [
    "BAR_MINUTES",
    "BAR_SECS",
    "BarInterval",
    "DataConfig",
    "LabelConfig",
    "LiveConfig",
    "ModelConfig",
    "RecordConfig",
    "RegimeConfig",
    "RunConfig",
    "SentimentConfig",
    "SplitConfig",
    "StrategyConfig",
    "SyntheticConfig",
    "TolerancesConfig",
    "TreesConfig",
    "VenueConfig",
]

BAR_SECS = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14_400}
BAR_MINUTES = {name: secs // 60 for name, secs in BAR_SECS.items() if secs >= 60}
BarInterval = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "4h"]


class SyntheticConfig(Group):
    """The seeded synthetic market that stands in where a catalog has nothing (demo and tests only)."""

    seed: Seed = 7
    days: int = Field(default=120, ge=1, le=3650)
    signal_strength: NonNegative = 0.0
    start_price: Positive = 60_000.0
    annual_volatility: Positive = 0.6


class DataConfig(Group):
    """Which bars the run uses. Models see [start, test_start); the backtest trades [test_start, end).

    Bars of a second (`1s`) are made of recorded trades: such a run replays the recorded quotes and trades,
    and orders fill at those. It has no models and no synthetic market.
    """

    catalog: FolderPath
    bar: BarInterval = "1m"
    start: UtcTime
    test_start: UtcTime
    end: UtcTime
    max_gap_minutes: int = Field(default=180, ge=0)  # a longer hole in the bars stops the run
    synthetic: SyntheticConfig | None = None

    @property
    def ticks(self) -> bool:
        """Whether the run replays recorded quotes and trades."""
        return self.bar_secs < 60

    @property
    def bar_secs(self) -> int:
        """Length of one bar in seconds."""
        return BAR_SECS[self.bar]

    @property
    def bar_minutes(self) -> int:
        """Length of one bar in minutes; ConfigError for shorter ones, which nothing that learns can use."""
        if self.bar not in BAR_MINUTES:
            raise ConfigError(f"data.bar {self.bar}: features and models need bars of a minute or longer")
        return BAR_MINUTES[self.bar]

    @model_validator(mode="after")
    def _ordered(self) -> "DataConfig":
        if self.ticks and self.synthetic is not None:
            raise ValueError("the synthetic market has no quotes and trades: bar 1s needs recorded ones")
        if not self.start < self.test_start < self.end:
            raise ValueError(
                f"needs start < test_start < end, got {self.start:%Y-%m-%dT%H:%M} / "
                f"{self.test_start:%Y-%m-%dT%H:%M} / {self.end:%Y-%m-%dT%H:%M}"
            )
        if self.test_start.timestamp() % self.bar_secs:
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
    exogenous: tuple[Literal["fear_greed"], ...] = ()  # series from outside the bars it learns from as well


class StrategyConfig(Group):
    """One strategy on one instrument; `signal` belongs to the strategy's own Params."""

    use: Slug
    instrument: InstrumentName
    name: Slug | None = None
    model: Slug | None = None
    extra_models: tuple[Slug, ...] = ()  # further models it hears, under their names in `View.forecasts`
    allow_short: bool = True
    exit_on_opposite: bool = True
    signal: dict[str, Any] = Field(default_factory=dict)
    entry: EntryConfig = EntryConfig()
    sizing: SizingConfig = SizingConfig()
    stop: StopConfig = StopConfig()
    targets: TargetsConfig = TargetsConfig()
    scale_in: ScaleInConfig | None = None
    trailing: TrailingConfig | None = None
    time: TimeConfig = TimeConfig()

    @property
    def label(self) -> str:
        """The strategy's name in orders, audit and reports."""
        return self.name or f"{self.use}-{self.instrument.split('.')[0]}"

    @property
    def all_models(self) -> tuple[str, ...]:
        """Its model and the further ones, each once."""
        first = () if self.model is None else (self.model,)
        return tuple(dict.fromkeys((*first, *self.extra_models)))


class RegimeConfig(Group):
    """How the market's state is told: trend by ADX and slope, volatility by its rank in a rolling window.

    A label changes only when its measure has passed the other label's threshold, and not before `min_bars`
    bars in the old one.
    """

    adx_trending: Positive = 25.0
    adx_ranging: Positive = 20.0
    volatility_window: int = Field(default=1440, ge=20)
    high_volatility_above: Fraction = 0.8
    low_volatility_below: Fraction = 0.2
    hysteresis: float = Field(default=0.05, ge=0, lt=0.5)  # of the volatility's rank
    min_bars: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "RegimeConfig":
        if self.adx_ranging > self.adx_trending:
            raise ValueError("adx_ranging must not lie above adx_trending")
        if self.low_volatility_below + self.hysteresis >= self.high_volatility_above - self.hysteresis:
            raise ValueError("low_volatility_below and high_volatility_above leave nothing between")
        return self


class SentimentConfig(Group):
    """The Fear & Greed index: a value is known `publication_delay_minutes` after its UTC day began.

    One older than `max_age_hours` counts as none. `url` is what a live node polls: a service that answers as
    https://api.alternative.me/fng/?limit=40 does. Without one only a rehearsal that the node makes for itself
    has the index: the catalog's, replayed with its market.
    """

    publication_delay_minutes: int = Field(default=60, ge=0, le=2880)
    max_age_hours: Positive = 48.0
    url: str | None = None
    poll_secs: float = Field(default=900.0, ge=1)
    timeout_secs: float = Field(default=10.0, gt=0, le=120)


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


class RecordConfig(Group):
    """What a node writes into the catalog of its own folder: whatever a backtest needs to replay it.

    Bars, funding and the values of an index always, quotes and trades where the bars are of a second; with
    `quotes` the quotes always. A file is begun every `rotate_minutes`; files older than `keep_days` are
    removed.
    """

    quotes: bool = False
    rotate_minutes: int = Field(default=60, ge=1, le=1440)
    keep_days: int = Field(default=30, ge=1)


class TolerancesConfig(Group):
    """What preflight lets pass.

    A model's age counts from the end of what it learned from. `skew_ms` and `warn_skew_ms` are of the
    difference between this machine's clock and the venue's, which refuses signed requests from 1,000 ms on.
    `feature_error_pct` is by how much a feature may be off for want of history, in per cent of its spread.
    """

    skew_ms: float = Field(default=800.0, gt=0, lt=1000)
    warn_skew_ms: NonNegative = 250.0
    model_age_days: Positive = 45.0
    free_gib: NonNegative = 2.0
    feature_error_pct: Positive = 1.0
    margin_type: Literal["CROSSED", "ISOLATED"] = "CROSSED"


class LiveConfig(Group):
    """A node's addresses (None: the venue's own), its patience and its records.

    Without a quote for `stale_quote_secs` nothing is entered, nor on a bar that is heard later than
    `stale_bar_secs` after its close. `metrics_port` serves the metrics on loopback.
    `protection_budget_pct` of the venue's order limits are kept for stops, targets and exits.
    """

    base_url_http: str | None = None
    base_url_ws: str | None = None
    base_url_ws_trading: str | None = None
    stale_quote_secs: Positive | None = 15.0
    stale_bar_secs: Positive | None = 15.0
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    record: RecordConfig | None = RecordConfig()
    protection_budget_pct: float = Field(default=50.0, ge=0.0, le=90.0)
    tolerances: TolerancesConfig = TolerancesConfig()


class RunConfig(Group):
    """One run, whole."""

    name: Slug
    seed: Seed = 7
    data: DataConfig
    models: tuple[ModelConfig, ...] = ()
    forecasts: Literal["precomputed", "streaming"] = "precomputed"
    strategies: tuple[StrategyConfig, ...] = Field(min_length=1, max_length=100)
    regime: RegimeConfig = RegimeConfig()
    sentiment: SentimentConfig = SentimentConfig()
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
            for model in strategy.all_models:
                if model not in names:
                    known = ", ".join(names) or "none"
                    raise ValueError(f"strategy '{strategy.label}' asks for model '{model}'; known: {known}")
        if len(self.instruments) != len(self.strategies):
            raise ValueError(
                "one strategy per instrument: the protective stop covers the account's whole position"
            )
        if len({"-PERP." in i for i in self.instruments}) > 1:
            raise ValueError("perpetuals and spot cannot share one account; use two run files")
        return self
