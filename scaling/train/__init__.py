"""Training one rank of one point.  Reading order: entry -> child -> main -> loop."""
