"""Where orders go when none may leave: nowhere. The strategy itself takes its place with `--trade`."""

from typing import Any

from nautilus_trader.trading import Strategy

from strategies.setup import StrategySetup

__all__ = ["way_out"]


class _Nowhere:
    """Takes what a strategy takes, and does nothing."""

    def submit_order(self, *_: Any, **__: Any) -> None:
        """Dropped."""

    def modify_order(self, *_: Any, **__: Any) -> None:
        """Dropped."""

    def cancel_order(self, *_: Any, **__: Any) -> None:
        """Dropped."""

    submit_order_list = submit_order


def way_out(strategy: Strategy, setup: StrategySetup) -> Any:
    """What to send orders through: the strategy, or nothing where no order may leave."""
    return strategy if setup.may_send else _Nowhere()
