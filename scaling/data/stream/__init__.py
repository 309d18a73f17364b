"""Training samples in one global order, whatever the number of ranks, from any position."""
