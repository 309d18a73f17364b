"""Data: converted or rendered into shards, checked and counted; then read back as the batches of one rank."""
