"""From captions to token ids or label ids."""
