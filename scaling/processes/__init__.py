"""How the processes of a run communicate: a parent with its child, and launchers with each other.

Read the modules in this order; each imports only those before it:

orphans       whether a process is alive, and how a process ends with the one that started it
ranks         which rank this process is
assignment    what a parent tells its child, and what the child says at its end
heartbeat     signs of life of a child
lease         who may write to a run
residue       what a point leaves in shared memory and temporary folders, and its removal
drilled_faults   the faults that a drill plays in a child
"""
