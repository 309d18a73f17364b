"""What a sweep file may say, value by value; `scaling.spec` is the file as a whole.  No torch.

Read the modules in this order; each imports only those before it (and scaling.units, scaling.suggest):

sweep_file    the file as plain values, `--set` laid over it, nothing typed yet
field_types   the types of the values: names that must be known, quantities of samples
science_rules   how the fields of a point's science depend on each other
science       what a run learns from: the only thing hashed into its identity
sharding      what engines can shard, recompute and move to the CPU
"""
