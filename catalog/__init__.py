"""Market data at rest: a Parquet catalog, and the ways into it."""
