"""What `scripts/faults` and `scripts/soak` run: things are broken on purpose, and what is left is looked at."""
