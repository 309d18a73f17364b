"""Drills: faults played on purpose, on a tiny sweep through the real launcher, and what should have come of them.

Read in this order:

faults -> processes -> site -> comparison -> finding -> scenes -> rounds | world_size, damaged_shard, two_launchers
parity_cases -> parity_ranks -> parity
drills (all of them, by name)
"""
