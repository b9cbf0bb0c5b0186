"""The random process behind the synthetic market, minute by minute.

Log returns are `drift + volatility * normal`, with

- volatility: a slow and a fast log-AR(1) part (clustering), a two-state Markov chain (calm and turbulent), a
  daily and weekly season, rare jumps; scaled so that the expected annual variance is the one asked for;
- volume: its own AR(1) part, decaying bursts, the volatility's level, the size of the move and a season;
- drift: zero, or the planted signal: reversion of the last two hours' move and continuation of the moves that
  came on unusual volume. A second Markov chain says which of the two is the stronger: ranging or trending.

Everything the drift depends on can be read from earlier bars. With strength 0 the price is a martingale: the
drift of its logarithm is exactly minus the convexity of the exponential.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["MinutePath", "simulate_minutes"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MINUTES_PER_DAY = 1440
MINUTES_PER_YEAR = 365 * MINUTES_PER_DAY
BURN_IN_MINUTES = 2 * MINUTES_PER_DAY

# Spread of log volatility and how long it lasts.
SLOW_SD, SLOW_MINUTES = 0.30, 1440.0
FAST_SD, FAST_MINUTES = 0.20, 45.0
# Markov chains: mean stay in minutes in the first and in the second state.
CALM_MINUTES, TURBULENT_MINUTES, TURBULENT_FACTOR = 2160.0, 720.0, 2.0
RANGING_MINUTES, TRENDING_MINUTES = 720.0, 480.0
# Jumps: two a day, six times the volatility of their minute.
JUMP_PER_MINUTE, JUMP_FACTOR = 2.0 / MINUTES_PER_DAY, 6.0
# Volume: noise, bursts every five hours that fade within half an hour.
VOLUME_SD, VOLUME_MINUTES = 0.45, 15.0
BURST_PER_MINUTE, BURST_SIZE, BURST_MINUTES = 1.0 / 300.0, 1.6, 30.0
MEDIAN_TURNOVER, FLOOR_TURNOVER = 2_400_000.0, 600_000.0  # quote currency a minute
# The planted signal.
MOVE_MINUTES, FLOW_MINUTES, LOCAL_VOLATILITY_MINUTES = 120.0, 45.0, 240.0
FLOW_SD = 0.0575  # of the average of returns weighted by unusual volume, measured over four years
DRIFT_PER_VOLATILITY = 0.032


@dataclass(frozen=True, slots=True)
class MinutePath:
    """One simulated stretch; every array has one entry per minute, times are the minutes' opens.

    `open`, `high`, `low`, `close` are log prices relative to the first open; `turnover` is in quote currency;
    `score` is the planted signal known at the minute's close, acting from the next minute on.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    turnover: Floats
    score: Floats
    turbulent: Flags
    trending: Flags


def simulate_minutes(
    rng: np.random.Generator,
    *,
    first_minute: int,
    n_minutes: int,
    annual_volatility: float,
    signal_strength: float,
) -> MinutePath:
    """Simulate `n_minutes` from `first_minute` (minutes since 1970-01-01 UTC), after two days of burn-in.

    The same generator state gives the same bits. `annual_volatility` is a fraction (0.6 is 60 %);
    `signal_strength` is dimensionless: 0 is a martingale, 1 a weak signal.
    """
    n = n_minutes + BURN_IN_MINUTES
    minutes = np.arange(first_minute - BURN_IN_MINUTES, first_minute + n_minutes, dtype=np.int64)
    turbulent = _markov_chain(rng.random(n), 1 / CALM_MINUTES, 1 / TURBULENT_MINUTES)
    trending = _markov_chain(rng.random(n), 1 / RANGING_MINUTES, 1 / TRENDING_MINUTES)
    volatility = _volatility(rng, minutes, turbulent, annual_volatility)
    jumps = np.where(rng.random(n) < JUMP_PER_MINUTE, JUMP_FACTOR, 0.0)
    shocks = rng.standard_normal(n) + jumps * rng.standard_normal(n)
    excess = _volume_excess(rng, n)
    close, score = _prices(volatility, shocks, excess, trending, signal_strength * DRIFT_PER_VOLATILITY)
    start = np.concatenate((np.zeros(1), close[:-1]))
    high, low = _extremes(rng, start, close, volatility)
    turnover = _turnover(minutes, volatility, shocks, excess, annual_volatility)
    keep = slice(BURN_IN_MINUTES, n)
    origin = start[BURN_IN_MINUTES]
    return MinutePath(
        start[keep] - origin, high[keep] - origin, low[keep] - origin, close[keep] - origin,
        turnover[keep], score[keep], turbulent[keep], trending[keep],
    )  # fmt: skip


def _volatility(
    rng: np.random.Generator, minutes: NDArray[np.int64], turbulent: Flags, annual: float
) -> Floats:
    slow = _autoregression(rng.standard_normal(len(minutes)), math.exp(-1 / SLOW_MINUTES))
    fast = _autoregression(rng.standard_normal(len(minutes)), math.exp(-1 / FAST_MINUTES))
    # E[exp(2 s x)] = exp(2 s^2) for a standard normal x: the expected variance stays at its level.
    clustering = np.exp(SLOW_SD * slow + FAST_SD * fast - SLOW_SD**2 - FAST_SD**2)
    share = TURBULENT_MINUTES / (CALM_MINUTES + TURBULENT_MINUTES)
    level = math.sqrt(1 + share * (TURBULENT_FACTOR**2 - 1))
    regime = np.where(turbulent, TURBULENT_FACTOR, 1.0) / level
    jumps = math.sqrt(1 + JUMP_PER_MINUTE * JUMP_FACTOR**2)
    base = annual / math.sqrt(MINUTES_PER_YEAR) / jumps
    volatility: Floats = base * clustering * regime * _season(minutes)
    return volatility


def _season(minutes: NDArray[np.int64]) -> Floats:
    """Volatility by time of week, mean square one: busiest at about 15:00 UTC, quiet nights and weekends."""
    week = np.arange(7 * MINUTES_PER_DAY)
    hours = week % MINUTES_PER_DAY / 60.0
    daily = 0.28 * np.cos((hours - 15.0) * math.tau / 24) + 0.10 * np.cos((hours - 14.5) * math.tau / 12)
    weekday = (week // MINUTES_PER_DAY + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    shape = np.exp(daily - np.where(weekday >= 5, 0.25, 0.0))
    shape /= math.sqrt(float(np.mean(shape**2)))
    season: Floats = shape[minutes % (7 * MINUTES_PER_DAY)]
    return season


def _volume_excess(rng: np.random.Generator, n: int) -> Floats:
    noise = _autoregression(rng.standard_normal(n), math.exp(-1 / VOLUME_MINUTES))
    bursts = np.where(rng.random(n) < BURST_PER_MINUTE, BURST_SIZE * (0.5 + rng.random(n)), 0.0)
    excess: Floats = VOLUME_SD * noise + _decay(bursts, math.exp(-1 / BURST_MINUTES))
    return excess


def _extremes(
    rng: np.random.Generator, start: Floats, close: Floats, volatility: Floats
) -> tuple[Floats, Floats]:
    """Highest and lowest log price inside each minute: the extremes of a Brownian bridge between its ends.

    P(max > m | end r) = exp(-2 m (m - r) / s^2), inverted at a uniform draw; the two are drawn independently.
    """
    move = close - start
    spread = -2.0 * volatility**2
    up = spread * np.log1p(-rng.random(len(close)))
    down = spread * np.log1p(-rng.random(len(close)))
    return start + (move + np.sqrt(move**2 + up)) / 2, start + (move - np.sqrt(move**2 + down)) / 2


def _turnover(
    minutes: NDArray[np.int64], volatility: Floats, shocks: Floats, excess: Floats, annual: float
) -> Floats:
    level = np.log(volatility / (annual / math.sqrt(MINUTES_PER_YEAR)))
    season = 0.5 * np.log(_season(minutes))  # on top of what the volatility's own season brings
    log_turnover = 0.6 * level + season + excess + 0.25 * np.minimum(np.abs(shocks), 6.0)
    turnover: Floats = FLOOR_TURNOVER + MEDIAN_TURNOVER * np.exp(log_turnover - 0.25)
    return turnover


@njit(cache=True)
def _markov_chain(uniforms: Floats, enter: float, leave: float) -> Flags:
    state = np.empty(len(uniforms), dtype=np.bool_)
    on = False
    for i in range(len(uniforms)):
        on = uniforms[i] >= leave if on else uniforms[i] < enter
        state[i] = on
    return state


@njit(cache=True)
def _autoregression(normals: Floats, persistence: float) -> Floats:
    """A stationary AR(1) with unit variance."""
    values = np.empty_like(normals)
    scale = math.sqrt(1.0 - persistence * persistence)
    value = normals[0]
    for i in range(len(normals)):
        value = persistence * value + scale * normals[i] if i else value
        values[i] = value
    return values


@njit(cache=True)
def _decay(impulses: Floats, persistence: float) -> Floats:
    values = np.empty_like(impulses)
    value = 0.0
    for i in range(len(impulses)):
        value = persistence * value + impulses[i]
        values[i] = value
    return values


@njit(cache=True)
def _prices(
    volatility: Floats, shocks: Floats, excess: Floats, trending: Flags, drift: float
) -> tuple[Floats, Floats]:
    """Log closes and the signal's score after each minute; minute i drifts by the score of minute i - 1."""
    n = len(shocks)
    close = np.empty(n)
    scores = np.empty(n)
    move_step, flow_step = 1.0 / MOVE_MINUTES, 1.0 / FLOW_MINUTES
    local_step = 1.0 / LOCAL_VOLATILITY_MINUTES
    price = mean = flow = score = 0.0
    variance = volatility[0] ** 2
    for i in range(n):
        sigma = volatility[i]
        convexity = 0.5 * sigma * sigma
        # log E[exp(sigma * shock)]: a shock is a normal, or with small chance one with a jump on top
        convexity += math.log1p(JUMP_PER_MINUTE * math.expm1(convexity * JUMP_FACTOR * JUMP_FACTOR))
        change = sigma * (shocks[i] + drift * score) - convexity
        price += change
        mean += move_step * (price - mean)
        variance += local_step * (change * change - variance)
        surprise = min(max(change / sigma, -4.0), 4.0)
        flow += flow_step * (surprise * max(excess[i], 0.0) - flow)
        move = (price - mean) / (math.sqrt(variance * MOVE_MINUTES / 2.0) + 1e-300)
        reversion, continuation = (0.4, 1.0) if trending[i] else (1.2, 0.5)
        score = continuation * math.tanh(flow / FLOW_SD) - reversion * math.tanh(move)
        close[i] = price
        scores[i] = score
    return close, scores
