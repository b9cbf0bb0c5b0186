"""Coins counted by fills: fees, doubles, dust, restarts."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.state_file import StateFile
from configs.errors import RunFailedError
from strategies.holdings import CoinFill, Coins, Holdings

STEP = Decimal("0.00001")
BUY = CoinFill("1", True, Decimal("0.01"), Decimal(60_000), Decimal("0.00001"), "BTC", 1)
NEVER = Decimal("NaN")


def holdings(path: Path | None = None) -> Holdings:
    file = None if path is None else StateFile(path, Coins)
    return Holdings("BTCUSDT.BINANCE", "BTC", "USDT", STEP, file)


def sale(quantity: str, price: int, trade_id: str = "2", fee: str = "0") -> CoinFill:
    return CoinFill(trade_id, False, Decimal(quantity), Decimal(price), Decimal(fee), "USDT", 2)


def test_a_fee_in_the_base_asset_shrinks_what_is_held() -> None:
    held = holdings()
    held.filled(BUY, NEVER)
    assert held.amount == Decimal("0.00999")
    assert held.lots == 999
    assert held.average_price == 60_000.0


def test_a_fee_in_another_asset_does_not() -> None:
    held = holdings()
    held.filled(BUY._replace(fee=Decimal("0.02"), fee_asset="BNB"), NEVER)
    assert held.amount == Decimal("0.01")


def test_lots_are_rounded_down() -> None:
    held = holdings()
    held.filled(BUY._replace(fee=Decimal("0.000010001")), NEVER)
    assert held.lots == 998


def test_a_full_disk_keeps_no_fill_from_being_counted_and_is_told_of_until_it_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "coins.json"
    held = holdings(path)

    def refuse(*_: object, **__: object) -> None:
        raise RunFailedError("no space")

    with monkeypatch.context() as full:
        full.setattr(StateFile, "write", refuse)
        assert held.filled(BUY, NEVER)
        assert held.lots == 999
        for _ in range(2):
            with pytest.raises(RunFailedError, match="no space"):
                held.keep()
    assert holdings(path).lots == 0
    held.keep()
    assert holdings(path).lots == 999


def test_a_fill_counts_once() -> None:
    held = holdings()
    assert held.filled(BUY, NEVER)
    assert not held.filled(BUY, NEVER)
    assert held.lots == 999


def test_a_trade_earns_what_its_sales_brought_less_what_it_cost_and_the_dust_stays() -> None:
    held = holdings()
    held.filled(BUY._replace(fee=Decimal("0.000015")), NEVER)  # 600 paid, 0.009985 held
    held.filled(sale("0.00998", 61_000, fee="0.60878"), NEVER)  # 608.78 less the fee
    assert held.lots == 0
    assert held.amount == Decimal("0.000005")
    # 608.78 - 0.60878 - 600, and 0.000005 at 61,000
    assert held.earned(Decimal(61_000)) == Decimal("8.17122") + Decimal("0.305")
    # 0.000015 at 60,000 and 0.60878
    assert held.coins.fees == Decimal("1.50878")
    held.close(Decimal(61_000))
    assert (held.coins.opened, held.coins.fees) == (0, 0)
    held.filled(BUY._replace(trade_id="3"), NEVER)
    assert held.amount == Decimal("0.009995")
    held.filled(sale("0.009995", 60_000, "4"), NEVER)
    assert held.earned(Decimal(60_000)) == Decimal("599.7") - Decimal(600) - Decimal("0.305")


def test_a_fill_that_the_engine_inferred_has_the_mark_for_a_price_and_the_dearest_fee() -> None:
    held = holdings()
    inferred = BUY._replace(trade_id="a-b", price=Decimal(0), fee=Decimal(0), fee_asset="USDT")
    held.filled(inferred, Decimal(59_000))
    assert held.amount == Decimal("0.00999")
    assert held.average_price == 59_000.0
    assert held.coins.last_trade == -1


def test_a_guessed_sale_has_the_dearest_fee_until_the_venues_trades_take_its_place() -> None:
    held = holdings()
    held.filled(BUY, NEVER)
    held.filled(sale("0.00999", 61_000, "a-b")._replace(fee_asset="", order="9"), NEVER)
    assert held.guessed == ["9"]
    # 609.39 less 0.1 % of it, 600 paid
    assert held.earned(Decimal(0)) == Decimal("8.78061")
    parts = [
        sale("0.00333", 61_010, "11", "0.1")._replace(order="9"),
        sale("0.00666", 61_020, "12", "0.2")._replace(order="9"),
    ]
    assert not held.filled(parts[0], NEVER)
    # 203.1633 - 0.1; the rest still guessed: 0.00666 x 61,000 = 406.26, less 0.40626
    assert held.earned(Decimal(0)) == Decimal("203.0633") + Decimal("405.85374") - 600
    assert not held.filled(parts[1], NEVER)
    # 406.3932 - 0.2
    assert held.earned(Decimal(0)) == Decimal("203.0633") + Decimal("406.1932") - 600
    assert (held.amount, held.guessed, held.coins.guesses) == (0, [], {})
    # 0.00001 at 60,000, 0.1 and 0.2
    assert held.coins.fees == Decimal("0.9")


def test_a_guessed_entry_gives_way_to_what_it_cost_and_to_the_fee_that_was_taken_elsewhere() -> None:
    held = holdings()
    held.filled(BUY._replace(trade_id="a-b", price=Decimal(0), fee=Decimal(0), order="9"), Decimal(59_000))
    assert (held.amount, held.coins.cost) == (Decimal("0.00999"), Decimal(590))
    held.filled(BUY._replace(trade_id="11", fee=Decimal("0.02"), fee_asset="BNB", order="9"), NEVER)
    assert (held.amount, held.coins.cost, held.average_price) == (Decimal("0.01"), Decimal(600), 60_000.0)


def test_two_guesses_of_one_order_are_one_and_what_is_more_than_guessed_is_new() -> None:
    held = holdings()
    guess = BUY._replace(trade_id="a-b", quantity=Decimal("0.004"), fee=Decimal(0), order="9")
    held.filled(guess, NEVER)
    held.filled(guess._replace(trade_id="c-d"), NEVER)
    assert held.filled(BUY._replace(trade_id="11", order="9"), NEVER)
    assert (held.amount, held.coins.cost) == (Decimal("0.00999"), Decimal(600))


def test_a_trade_that_comes_after_the_result_was_told_corrects_the_coins_and_not_the_next_result() -> None:
    held = holdings()
    held.filled(BUY, NEVER)
    held.filled(sale("0.00999", 61_000, "a-b")._replace(order="9"), NEVER)
    held.close(Decimal(61_000))
    assert held.guessed == []
    assert not held.filled(sale("0.00998", 61_500, "11")._replace(order="9"), NEVER)
    assert (held.amount, held.coins.cost, held.coins.opened) == (0, 0, 0)


def test_the_venues_trade_of_a_fill_that_was_inferred_is_not_counted_again(tmp_path: Path) -> None:
    first = holdings(tmp_path / "coins.json")
    inferred = BUY._replace(trade_id="a-b", price=Decimal(0), fee=Decimal(0), order="9")
    first.filled(inferred, Decimal(60_000))
    again = holdings(tmp_path / "coins.json")
    half = BUY._replace(quantity=Decimal("0.005"), fee=Decimal("0.000005"), order="9")
    parts = [half._replace(trade_id=n) for n in ("11", "12")]
    assert again.catch_up(parts, lambda: NEVER) == 0
    assert again.amount == Decimal("0.00999")
    assert (again.coins.guesses, again.coins.last_trade) == ({}, 12)
    assert again.filled(BUY._replace(trade_id="13", order="10"), NEVER)


def test_a_fill_that_was_lost_before_one_that_was_heard_is_asked_for_at_the_start(tmp_path: Path) -> None:
    held = holdings(tmp_path / "coins.json")
    held.filled(BUY, NEVER)
    held.filled(sale("0.00999", 61_000), NEVER)
    held.close(Decimal(61_000))
    heard, lost = BUY._replace(trade_id="4", ts=4), BUY._replace(trade_id="3", ts=3)
    held.filled(heard, NEVER)
    again = holdings(tmp_path / "coins.json")
    assert again.coins.asked_after == 2
    assert again.catch_up([lost, heard], lambda: NEVER) == 1
    assert again.amount == Decimal("0.01998")


def test_no_trade_is_asked_for_whose_id_is_forgotten() -> None:
    held = holdings()
    held.filled(BUY, NEVER)
    held.close(Decimal(60_000))
    for number in range(2, 513):
        held.filled(sale("0.00001", 61_000, str(number)), NEVER)
    assert held.coins.asked_after == 1
    held.filled(sale("0.00001", 61_000, "513"), NEVER)
    assert held.coins.asked_after == 513  # the id of the first is not remembered any more


def test_a_book_that_does_not_say_since_when_it_counts_asks_for_what_is_new() -> None:
    assert Coins("BTCUSDT.BINANCE", last_trade=41).asked_after == 41


def test_no_more_is_held_than_the_account_has() -> None:
    held = holdings()
    held.filled(BUY, NEVER)
    assert held.clip(Decimal("0.5")) == 0
    assert held.clip(Decimal("0.004")) == Decimal("0.00599")
    assert held.lots == 400


def test_the_file_brings_it_all_back_and_fills_meanwhile_are_counted_once(tmp_path: Path) -> None:
    first = holdings(tmp_path / "coins.json")
    first.filled(BUY, NEVER)
    again = holdings(tmp_path / "coins.json")
    assert again.coins == first.coins
    missed = [sale("0.004", 61_000, "7"), BUY, sale("0.001", 61_000, "6")]
    assert again.catch_up(missed, lambda: NEVER) == 2
    assert again.lots == 499
    assert again.coins.last_trade == 7
    assert holdings(tmp_path / "coins.json").coins == again.coins


def test_the_file_of_another_instrument_is_refused(tmp_path: Path) -> None:
    holdings(tmp_path / "coins.json").filled(BUY, NEVER)
    with pytest.raises(RunFailedError, match=r"BTCUSDT\.BINANCE, not ETHUSDT\.BINANCE"):
        Holdings("ETHUSDT.BINANCE", "ETH", "USDT", STEP, StateFile(tmp_path / "coins.json", Coins))


AMOUNT = st.integers(1, 10**6).map(lambda lots: lots * STEP)


@given(
    fills=st.lists(
        st.tuples(st.booleans(), AMOUNT, st.integers(1, 10**5), st.sampled_from(["BTC", "USDT", "BNB"])),
        max_size=30,
    )
)
def test_the_money_of_all_trades_together_is_the_money_of_all_fills(
    fills: list[tuple[bool, Decimal, int, str]],
) -> None:
    held, cash, coins, earned = holdings(), Decimal(0), Decimal(0), Decimal(0)
    for number, (is_buy, quantity, price, asset) in enumerate(fills):
        fee_asset = "USDT" if asset == "BTC" and not is_buy else asset  # a sale's fee is in what it brings
        sold = quantity if is_buy else min(quantity, held.lots * STEP)
        fee = sold / 1000
        held.filled(CoinFill(str(number), is_buy, sold, Decimal(price), fee, fee_asset, 1), NEVER)
        coins += (sold if is_buy else -sold) - (fee if fee_asset == "BTC" else 0)
        cash -= (sold if is_buy else -sold) * price + (fee if fee_asset == "USDT" else 0)
        assert held.amount == coins
        assert 0 <= held.lots * STEP <= held.amount
        if held.lots == 0:
            earned += held.earned(Decimal(price))
            held.close(Decimal(price))
            assert earned == cash + coins * price
            cash, earned = -coins * price, Decimal(0)  # the dust is bought again at that price


def test_what_the_account_says_is_gone_is_not_sold_again_out_of_the_next_trade(tmp_path: Path) -> None:
    path = tmp_path / "coins.json"
    held = holdings(path)
    held.filled(BUY._replace(fee=Decimal(0)), NEVER)
    unheard = sale("0.01", 60_000)  # by a watchdog: nobody tells the node
    assert held.clip(Decimal(0)) == Decimal("0.01")
    held.close(Decimal(60_000))
    held.filled(BUY._replace(trade_id="3", fee=Decimal(0)), NEVER)
    again = holdings(path)
    assert again.coins.asked_after >= int(unheard.trade_id)
    assert again.amount == Decimal("0.01")


def test_a_part_that_went_unheard_is_not_taken_off_twice(tmp_path: Path) -> None:
    path = tmp_path / "coins.json"
    held = holdings(path)
    held.filled(BUY._replace(fee=Decimal(0)), NEVER)
    held.close(Decimal(60_000))  # asks would begin with this trade
    held.clip(Decimal("0.006"))
    held.filled(sale("0.001", 60_000, "3"), NEVER)
    again = holdings(path)
    assert again.coins.asked_after == 3
    assert again.amount == Decimal("0.005")


def test_a_sale_heard_of_after_its_trade_was_told_is_no_profit_of_the_next() -> None:
    held = holdings()
    held.filled(BUY._replace(fee=Decimal(0)), NEVER)
    held.clip(Decimal(0))
    held.close(Decimal(60_000))
    held.catch_up([sale("0.01", 60_000)], lambda: Decimal(60_000))
    held.filled(BUY._replace(trade_id="3", fee=Decimal(0)), NEVER)
    held.filled(sale("0.01", 59_000, "4"), NEVER)
    assert held.earned(Decimal(59_000)) == pytest.approx(-10.0)
