"""What a checkpoint is worth.  Reading order: features -> context -> the evaluators -> tasks."""
