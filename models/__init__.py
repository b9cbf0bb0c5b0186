"""Pure mathematics: rows in, values out."""
