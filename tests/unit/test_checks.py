"""Every check broken on purpose, one at a time, and what the limits leave, worked out by hand."""

import math

import pytest

from strategies.checks import authorise
from strategies.values import Account, Book, Headroom, Intent, Refused, RiskLimits, RiskView

BTC, ETH, SOL = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE", "SOLUSDT-PERP.BINANCE"
SEC = 10**9
NOW = 1_700_000_000 * SEC
LIMITS = RiskLimits(
    symbols=frozenset({BTC, ETH, SOL}),
    max_positions=3,
    max_positions_per_symbol=1,
    max_open_orders=10,
    price_sanity=0.05,
    max_gross=3.0,
    max_net=2.0,
    max_side=2.5,
    max_cluster_risk=0.1,
    mode_max_age=360 * SEC,
)
NORMAL = RiskView(NOW - 60 * SEC, "NORMAL", 1.0)
ACCOUNT = Account(equity=10_000.0, free_margin=10_000.0, leverage=5.0)
LONG, SHORT = Intent(1, 1.0, ("test",)), Intent(-1, 1.0, ("test",))
NAN = pytest.approx(math.nan, nan_ok=True)


def ask(intent=LONG, *, instrument=BTC, price=50_000.0, last_price=50_000.0, **changes):
    seen = {
        "ts_event": NOW,
        "account": ACCOUNT,
        "book": Book(),
        "mode": NORMAL,
        "limits": LIMITS,
        "last_intent": None,
    }
    return authorise(intent, instrument=instrument, price=price, last_price=last_price, **{**seen, **changes})


def test_an_empty_book_leaves_every_limit_whole():
    # equity 10,000: gross 300 %, net 200 %, a side 250 %, a cluster 10 %
    assert ask() == Headroom(
        multiplier=1.0,
        notional_caps={"max_gross": 30_000.0, "max_net": 20_000.0, "max_side": 25_000.0},
        risk_caps={"max_cluster_risk": 1_000.0},
        held=0.0,
        held_risk=0.0,
    )


# --- symbol, duplicates ---


def test_an_instrument_off_the_list_is_refused():
    assert ask(instrument="DOGEUSDT-PERP.BINANCE") == Refused("symbol", 3.0, 0.0)
    assert ask(limits=LIMITS._replace(symbols=frozenset())) == Refused("symbol", 0.0, 0.0)


@pytest.mark.parametrize(
    ("last", "refused"),
    [
        ((NOW, 1), Refused("duplicate_intent", 0.0, 0.0)),
        ((NOW + 60 * SEC, 1), Refused("duplicate_intent", 0.0, -60.0)),  # an old bar delivered again
        ((NOW + 60 * SEC, -1), Refused("duplicate_intent", 0.0, -60.0)),
        ((NOW, -1), None),
        ((NOW - 1, 1), None),
        (None, None),
    ],
)
def test_the_same_intent_is_sent_once(last, refused):
    verdict = ask(last_intent=last)
    assert verdict == refused if refused is not None else isinstance(verdict, Headroom)


# --- the risk mode ---


@pytest.mark.parametrize(
    ("mode", "refused"),
    [
        (None, Refused("mode_missing", 360.0, math.inf)),
        (NORMAL._replace(ts_event=NOW - 361 * SEC), Refused("mode_stale", 360.0, 361.0)),
        # from far ahead: it would never grow old
        (NORMAL._replace(ts_event=NOW + 361 * SEC), Refused("mode_stale", 360.0, -361.0)),
        (NORMAL._replace(mode="PAUSED"), Refused("mode_paused", 1.0, 0.0)),
        (NORMAL._replace(mode="HALTED"), Refused("mode_halted", 1.0, 0.0)),
        (NORMAL._replace(mode="normal"), Refused("mode_unknown", 1.0, 0.0)),
        (NORMAL._replace(mode=""), Refused("mode_unknown", 1.0, 0.0)),
        (NORMAL._replace(multiplier=0.0), Refused("mode_multiplier", 3.0, 0.0)),
        (NORMAL._replace(multiplier=-0.5), Refused("mode_multiplier", 3.0, -0.5)),
        (NORMAL._replace(multiplier=3.1), Refused("mode_multiplier", 3.0, 3.1)),
        (NORMAL._replace(multiplier=math.nan), Refused("mode_multiplier", 3.0, NAN)),
        (NORMAL._replace(blocked="stop_out"), Refused("blocked:stop_out", 1.0, 0.0)),
        (NORMAL._replace(blocked=""), Refused("blocked:", 1.0, 0.0)),
    ],
)
def test_without_a_fresh_permission_there_is_no_entry(mode, refused):
    assert ask(mode=mode) == refused


@pytest.mark.parametrize("age_secs", [360, 0, -2])
def test_a_mode_just_fresh_enough_or_a_little_ahead_of_the_bar_counts(age_secs):
    assert isinstance(ask(mode=NORMAL._replace(ts_event=NOW - age_secs * SEC)), Headroom)


def test_a_reduced_mode_passes_its_multiplier_on():
    assert ask(mode=NORMAL._replace(mode="REDUCED", multiplier=0.4)).multiplier == 0.4


# --- the price ---


@pytest.mark.parametrize(
    ("price", "last_price", "refused"),
    [
        (53_000.0, 50_000.0, Refused("price_sanity", 0.05, pytest.approx(0.06))),
        (47_000.0, 50_000.0, Refused("price_sanity", 0.05, pytest.approx(0.06))),
        (math.nan, 50_000.0, Refused("price_sanity", 50_000.0, NAN)),
        (50_000.0, math.nan, Refused("price_sanity", NAN, 50_000.0)),
        (50_000.0, 0.0, Refused("price_sanity", 0.0, 50_000.0)),
        (-50_000.0, -50_000.0, Refused("price_sanity", -50_000.0, -50_000.0)),
        (math.inf, math.inf, Refused("price_sanity", math.inf, math.inf)),
    ],
)
def test_a_price_away_from_the_market_is_refused(price, last_price, refused):
    assert ask(price=price, last_price=last_price) == refused


def test_a_price_within_the_band_passes():
    assert isinstance(ask(price=52_000.0), Headroom)


# --- places and orders ---


def test_positions_and_entries_under_way_fill_the_places():
    two = Book(positions={ETH: 100.0, SOL: -100.0}, risks={ETH: 2.0, SOL: 2.0})
    assert isinstance(ask(book=two), Headroom)  # the third of three
    assert ask(book=two, limits=LIMITS._replace(max_positions=2)) == Refused("max_positions", 2.0, 3.0)
    # an entry under way takes a place, but not a second one beside its own position
    pending = Book(positions={ETH: 100.0}, entries_pending={ETH: 1, SOL: 1})
    assert ask(book=pending, limits=LIMITS._replace(max_positions=2)) == Refused("max_positions", 2.0, 3.0)
    assert isinstance(ask(book=pending), Headroom)
    # nothing held, nothing under way
    empty = Book(positions={ETH: 0.0}, entries_pending={SOL: 0})
    assert isinstance(ask(book=empty, limits=LIMITS._replace(max_positions=1)), Headroom)


def test_a_symbol_has_one_position():
    refused = Refused("max_positions_per_symbol", 1.0, 2.0)
    assert ask(book=Book(positions={BTC: 500.0}, risks={BTC: 10.0})) == refused
    assert ask(SHORT, book=Book(positions={BTC: 500.0}, risks={BTC: 10.0})) == refused
    assert ask(book=Book(entries_pending={BTC: 1})) == refused


def test_an_addition_takes_no_new_place():
    full = Book(positions={BTC: 500.0, ETH: 1.0, SOL: 1.0}, risks={BTC: 10.0, ETH: 0.1, SOL: 0.1})
    left = ask(book=full, adding=True)
    assert isinstance(left, Headroom)
    assert (left.held, left.held_risk) == (500.0, 10.0)
    # but the account's limits hold for it
    assert ask(book=full, adding=True, mode=None).check == "mode_missing"
    assert ask(book=full._replace(open_orders=10), adding=True).check == "max_open_orders"


def test_open_orders_are_bounded():
    assert isinstance(ask(book=Book(open_orders=9)), Headroom)
    assert ask(book=Book(open_orders=10)) == Refused("max_open_orders", 10.0, 11.0)


@pytest.mark.parametrize("equity", [0.0, -1.0, math.nan, math.inf])
def test_without_equity_there_is_no_entry(equity):
    assert ask(account=ACCOUNT._replace(equity=equity)) == Refused(
        "equity", 0.0, pytest.approx(equity, nan_ok=True)
    )


def test_a_side_is_long_or_short():
    assert ask(Intent(0, 1.0, ())) == Refused("side", 1.0, 0.0)


# --- exposure ---


def book(**positions):
    names = {"btc": BTC, "eth": ETH, "sol": SOL}
    held = {names[name]: notional for name, notional in positions.items()}
    return Book(positions=held, risks=dict.fromkeys(held, 0.0))


@pytest.mark.parametrize(
    ("intent", "held", "gross", "net", "side"),
    [
        # long 12,000 and short 4,000: gross 16,000, net +8,000, long 12,000, short 4,000
        (LONG, book(eth=12_000.0, sol=-4_000.0), 14_000.0, 12_000.0, 13_000.0),
        (SHORT, book(eth=12_000.0, sol=-4_000.0), 14_000.0, 28_000.0, 21_000.0),
        # short 15,000 only: a long may undo it and then go 20,000 net long
        (LONG, book(eth=-15_000.0), 15_000.0, 35_000.0, 25_000.0),
        (SHORT, book(eth=-15_000.0), 15_000.0, 5_000.0, 10_000.0),
        (LONG, book(eth=5_000.0, sol=-5_000.0), 20_000.0, 20_000.0, 20_000.0),
    ],
)
def test_what_is_left_follows_from_what_is_held(intent, held, gross, net, side):
    assert ask(intent, book=held).notional_caps == {"max_gross": gross, "max_net": net, "max_side": side}


@pytest.mark.parametrize(
    ("intent", "held", "limits", "refused"),
    [
        (LONG, book(eth=16_000.0, sol=-14_000.0), {}, Refused("max_gross", 30_000.0, 30_000.0)),
        (LONG, book(eth=20_000.0), {}, Refused("max_net", 20_000.0, 20_000.0)),
        (SHORT, book(eth=-21_000.0), {}, Refused("max_net", 20_000.0, 21_000.0)),
        (LONG, book(eth=26_000.0, sol=-9_000.0), {"max_gross": 9.0}, Refused("max_side", 25_000.0, 26_000.0)),
        (
            SHORT,
            book(eth=9_000.0, sol=-26_000.0),
            {"max_gross": 9.0},
            Refused("max_side", 25_000.0, 26_000.0),
        ),
    ],
)
def test_only_a_limit_with_nothing_left_refuses(intent, held, limits, refused):
    assert ask(intent, book=held, limits=LIMITS._replace(**limits)) == refused


def test_the_other_side_may_still_enter_when_one_is_full():
    left = ask(SHORT, book=book(eth=20_000.0))
    # gross 30,000 - 20,000; net 20,000 + 20,000; short side untouched
    assert left.notional_caps == {"max_gross": 10_000.0, "max_net": 40_000.0, "max_side": 25_000.0}


# --- clusters ---


def test_a_clusters_risks_add_up_whatever_their_side():
    held = Book(
        positions={ETH: 12_000.0, SOL: -8_000.0},
        risks={ETH: 300.0, SOL: -450.0},  # a sign means nothing here
    )
    together = NORMAL._replace(cluster=(BTC, ETH, SOL))
    assert ask(book=held, mode=together).risk_caps == {"max_cluster_risk": 250.0}
    assert ask(SHORT, book=held, mode=together).risk_caps == {"max_cluster_risk": 250.0}
    pair = NORMAL._replace(cluster=(BTC, ETH))
    assert ask(book=held, mode=pair).risk_caps == {"max_cluster_risk": 700.0}
    assert ask(book=held).risk_caps == {"max_cluster_risk": 1_000.0}


def test_a_cluster_is_refused_only_when_nothing_is_left():
    held = Book(positions={ETH: 12_000.0}, risks={ETH: 1_000.0})
    together = NORMAL._replace(cluster=(BTC, ETH))
    assert ask(book=held, mode=together) == Refused("max_cluster_risk", 1_000.0, 1_000.0)
    nearly = held._replace(risks={ETH: 999.0})
    assert ask(book=nearly, mode=together).risk_caps == {"max_cluster_risk": 1.0}


def test_a_position_without_a_known_stop_is_at_risk_whole():
    held = Book(positions={ETH: -900.0})
    left = ask(book=held, mode=NORMAL._replace(cluster=(BTC, ETH)))
    assert left.risk_caps == {"max_cluster_risk": 100.0}


def test_an_instruments_own_risk_counts_even_when_the_guard_names_no_cluster():
    held = Book(positions={BTC: 5_000.0}, risks={BTC: 400.0})
    assert ask(book=held, adding=True).risk_caps == {"max_cluster_risk": 600.0}


# --- NaN ---


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"book": Book(positions={ETH: math.nan})}, "max_gross"),
        ({"book": Book(positions={ETH: 1.0}, risks={ETH: math.nan})}, "max_cluster_risk"),
        ({"limits": LIMITS._replace(max_gross=math.nan)}, "max_gross"),
        ({"limits": LIMITS._replace(max_net=math.nan)}, "max_net"),
        ({"limits": LIMITS._replace(max_side=math.nan)}, "max_side"),
        ({"limits": LIMITS._replace(max_cluster_risk=math.nan)}, "max_cluster_risk"),
        ({"limits": LIMITS._replace(price_sanity=math.nan)}, "price_sanity"),
    ],
)
def test_nan_is_refused(change, check):
    verdict = ask(mode=NORMAL._replace(cluster=(BTC, ETH)), **change)
    assert isinstance(verdict, Refused)
    assert verdict.check == check


def test_infinities_in_the_book_are_refused_and_no_crash():
    wild = Book(positions={ETH: math.inf, SOL: -math.inf})
    assert ask(book=wild).check == "max_gross"


def test_the_layers_come_in_their_order():
    broken = {
        "instrument": "X",
        "last_intent": (NOW, 1),
        "mode": None,
        "last_price": math.nan,
        "book": Book(positions={BTC: math.nan}, open_orders=99, entries_pending={ETH: 1, SOL: 1}),
        "account": ACCOUNT._replace(equity=math.nan),
    }
    mended = {
        "instrument": BTC,
        "last_intent": None,
        "mode": NORMAL,
        "last_price": 50_000.0,
        "book": Book(positions={ETH: math.nan}),
        "account": ACCOUNT,
    }
    found = []
    for name, value in mended.items():
        found.append(ask(**broken).check)
        broken = {**broken, name: value}
    found.append(ask(**broken).check)
    assert found == [
        "symbol",
        "duplicate_intent",
        "mode_missing",
        "price_sanity",
        "max_positions_per_symbol",
        "equity",
        "max_gross",
    ]
