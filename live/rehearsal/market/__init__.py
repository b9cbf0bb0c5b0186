"""The replayed market: where its ticks come from, and the events of several symbols in one order of time."""
