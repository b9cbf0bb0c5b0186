"""The operator's word before real money is traded: the account's name, typed on a terminal."""

import sys

from configs.console import out
from configs.errors import ConfigError
from live.venue.client import VenueClient

__all__ = ["need_terminal", "seek_consent"]


def need_terminal() -> None:
    """ConfigError where nobody can be asked; said before anything takes long."""
    if not sys.stdin.isatty():
        raise ConfigError(
            "--venue live --trade asks for the account's name, and there is no terminal to ask on: "
            "give --yes to trade for real without being asked"
        )


def seek_consent(client: VenueClient, key: str, symbol: str, *, ask: bool) -> None:
    """Show whose money is traded, in `symbol`'s margin asset; where `ask`, go on only when the account's name
    is typed.

    ConfigError for another answer or none.
    """
    asset = client.exchange_info().symbols[symbol].margin_asset
    balance = client.balances().of(asset)
    name = client.account_name(asset) or key[-4:]
    positions = len(client.positions())
    out.print(
        f"REAL MONEY: account {name} (key ...{key[-4:]}) with {balance.margin_balance:.2f} {asset}, "
        f"{balance.available_balance:.2f} of it free, {positions} positions open",
        markup=False,
        highlight=False,
    )
    if not ask:
        return
    out.print(f"Type the account's name ({name}) to trade it: ", end="", markup=False, highlight=False)
    if sys.stdin.readline().strip() != name:
        raise ConfigError("not confirmed: nothing was traded")
