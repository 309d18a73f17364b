"""From tars, drawings and captions to the batches of one rank."""
