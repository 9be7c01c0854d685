"""Running candidates where they will run: one bench for each runtime, in its own environment."""
