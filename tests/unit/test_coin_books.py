"""Books of coins come and go with strategies: one an instrument, and none that counts what is not its own."""

from decimal import Decimal
from pathlib import Path

from configs.load import load_run
from live.operate.coin_books import begin_book, book_of
from live.operate.roster import RosterBook
from strategies.holdings import Coins
from tests.spot_nodes import spot_run_file

D = Decimal
BTC = "BTCUSDT.BINANCE"


def test_a_new_book_begins_after_the_accounts_newest_trade(tmp_path: Path) -> None:
    begin_book(tmp_path, "one", BTC, 41)
    book = book_of(tmp_path, "one").read()
    assert book is not None
    assert (book.instrument, book.last_trade, book.asked_after, book.amount) == (BTC, 41, 41, 0)


def test_there_are_none_where_positions_are_no_coins(tmp_path: Path) -> None:
    begin_book(tmp_path, "one", BTC, None)
    assert list(tmp_path.iterdir()) == []


def test_who_comes_later_goes_on_with_the_newest_book_of_the_instrument(tmp_path: Path) -> None:
    book_of(tmp_path, "one").write(Coins(BTC, amount=D("0.001"), last_trade=5))
    book_of(tmp_path, "two").write(Coins(BTC, amount=D("0.002"), last_trade=9))
    book_of(tmp_path, "eth").write(Coins("ETHUSDT.BINANCE", amount=D(7), last_trade=11))
    begin_book(tmp_path, "three", BTC, 20)
    book = book_of(tmp_path, "three").read()
    assert book is not None
    assert (book.amount, book.last_trade) == (D("0.002"), 9)
    assert sorted(path.name for path in tmp_path.glob("coins-*.json")) == [
        "coins-eth.json",
        "coins-three.json",
    ]


def test_a_start_after_a_kill_in_a_swap_forgets_the_other_name(tmp_path: Path) -> None:
    run = load_run(spot_run_file(tmp_path))
    heir = load_run(spot_run_file(tmp_path, file="heir.yaml", name="heir"))
    book = RosterBook(tmp_path, run)
    book.keep(book.roster.add(heir.strategies, (), {}))
    for label in ("momentum", "heir"):
        book_of(tmp_path, label).write(Coins(BTC, amount=D(1)))
    book_of(tmp_path, "gone").write(Coins("ETHUSDT.BINANCE", amount=D("0.001")))  # dust of one that left
    RosterBook(tmp_path, run)
    assert sorted(path.name for path in tmp_path.glob("coins-*.json")) == [
        "coins-gone.json",
        "coins-heir.json",
    ]
