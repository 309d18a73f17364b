"""What processes of a run know of each other: all that passes between a parent, its child and other launchers.

Read the modules in this order; each imports only those before it:

orphans       whether a process still lives, and processes that end with the one that started them
ranks         which rank this process is
assignment    what a parent tells its child, and what the child says at its end
heartbeat     signs of life of a child
lease         who may write to a run
residue       what a point leaves in shared memory and temporary folders, and its removal
drilled_faults   what a drill asks a child to suffer
"""
