"""What goes wrong on purpose: the fault script, and how its faults act on the server and on the market."""
