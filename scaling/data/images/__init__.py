"""From stored bytes to pixels, and what is drawn to augment them."""
