"""A checkpoint on disk: contents, state_hash -> writing -> publishing -> saving; reading.

A folder `step-000000500` holds, for each rank that wrote it, `rank-00000.safetensors` (that rank's pieces of the
training state, flat) and its manifest `rank-00000.json` (what each piece is, with a checksum), and `checkpoint.json`
with everything that is not a tensor.  Any number of ranks, engine and sharding can read what any other wrote.
"""
