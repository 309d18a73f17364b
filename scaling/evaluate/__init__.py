"""Evaluation of a checkpoint.  Reading order: features -> context -> the evaluators -> tasks."""
