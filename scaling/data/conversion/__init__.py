"""From the files that others publish to MDS shards, each sample either written or rejected for a stated reason."""
