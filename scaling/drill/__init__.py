"""Drills: play faults on purpose in a tiny sweep, through the real launcher, and check what comes of them.

Read in this order:

processes -> launched -> site -> comparison -> finding
expectations -> scenes -> rounds | damaged_shard, two_launchers
parity_cases -> parity_ranks, parity_child -> parity_table -> parity
drills (all of them, by name)
"""
