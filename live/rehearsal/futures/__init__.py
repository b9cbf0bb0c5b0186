"""The USD-M futures market: the venue itself, and its protocol."""
