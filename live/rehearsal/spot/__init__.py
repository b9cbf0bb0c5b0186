"""The rehearsal venue's spot market: JSON, the WebSocket API, SBE over REST."""
