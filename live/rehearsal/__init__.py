"""A local venue that speaks Binance's USD-M futures protocol, for rehearsing the live node."""
