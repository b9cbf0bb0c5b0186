"""Talking to Binance over REST, independently of the node's adapter."""
