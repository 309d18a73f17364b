"""Two objectives at equal compute: difference, ratio, crossing, nested laws, and what speaks against believing them."""
