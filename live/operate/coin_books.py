"""On spot the books of what strategies hold: begun, handed on and forgotten as strategies come and go.

A book bears its strategy's name and is of one instrument. It outlives the strategy: what the venue's steps
have left over stays in it, and so does up to where the venue's list of trades is counted. A book begun anew
counts nothing that was traded before.
"""

from pathlib import Path

from actors.state_file import StateFile
from catalog.instruments import symbol_of
from configs.schema import RunConfig
from live.operate.roster import trade_path
from live.venue.client import VenueClient
from live.venue.spot_client import SpotClient
from strategies.assembly import coins_file
from strategies.holdings import Coins

__all__ = ["begin_book", "begin_books", "book_of", "newest_trade"]


def book_of(folder: Path, label: str) -> StateFile[Coins]:
    """A strategy's book."""
    return StateFile(coins_file(trade_path(folder, label)), Coins)


def begin_books(run: RunConfig, client: VenueClient, folder: Path) -> None:
    """Before a node starts: every strategy on spot has its book."""
    for strategy in run.strategies:
        if book_of(folder, strategy.label).read() is None:
            begin_book(folder, strategy.label, strategy.instrument, newest_trade(client, strategy.instrument))


def begin_book(folder: Path, label: str, instrument: str, newest: int | None) -> None:
    """Let a strategy go on with the instrument's book, whosever it was, or else begin one after a trade.

    `newest` None: not on spot, there are no books. DataError for a book that cannot be trusted.
    """
    if newest is None:
        return
    own = book_of(folder, label)
    found = [(path, StateFile(path, Coins).read()) for path in sorted(folder.glob("coins-*.json"))]
    books = [(path, book) for path, book in found if book is not None and book.instrument == instrument]
    latest = max((book for _, book in books), key=lambda book: book.last_trade, default=None)
    own.write(latest or Coins(instrument, last_trade=newest, settled=newest), waits=True)
    for path, _ in books:
        if path != own.path:
            StateFile(path, Coins).remove()


def newest_trade(client: VenueClient, instrument: str) -> int | None:
    """The account's newest trade at the venue, -1 when there is none; None where positions are not coins."""
    return client.newest_trade(symbol_of(instrument)) if isinstance(client, SpotClient) else None
