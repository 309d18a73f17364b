"""One rank of one point: entry -> child -> main -> loop."""
