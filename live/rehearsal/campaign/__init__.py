"""A campaign: seeded scenarios of a live node on a rehearsal venue that misbehaves, and what must hold."""
