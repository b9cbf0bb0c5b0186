"""What an operator changes while the node runs: strategies, models, pauses."""
