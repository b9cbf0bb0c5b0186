"""The server: doors, keys, limits and routes, whatever market stands behind them."""
