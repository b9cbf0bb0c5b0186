"""A local venue that speaks Binance's protocols, USD-M futures or spot, for rehearsing the live node.

`exchange`, `crossing` and `orders` are what all markets have in common; `futures` and `spot` are a market
each, venue and protocol; `serving` is the server in front of either, `market` the replayed market, `faults`
what goes wrong on purpose, `campaign` the seeded scenarios that are played on all of it.
"""
