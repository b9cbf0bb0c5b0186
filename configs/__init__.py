"""What to run: run files, validated and hashed."""
