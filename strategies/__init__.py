"""Components that decide, size, plan, protect and order."""
