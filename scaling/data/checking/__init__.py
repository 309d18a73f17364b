"""What `scaling data check` looks at in a set of shards, and what it shows."""
