"""What a node writes down of itself: the audit stream, the recorded market, the metrics."""
