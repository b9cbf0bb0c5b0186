"""Components on the bus: forecasts, audit."""
