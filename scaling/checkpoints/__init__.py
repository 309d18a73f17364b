"""A checkpoint on disk: contents, state_hash -> writing -> publishing -> saving; reading.

A folder `step-000000500` holds, for each rank that wrote it, `rank-00000.safetensors` (the pieces of the training
state that are that rank's, flat) and its manifest `rank-00000.json` (what each is, with a checksum), and
`checkpoint.json` with all that is not a tensor. Whatever cut of the state wrote them, any other cut reads them back.
"""
