"""The parents of a launch: one thin process per rank that starts, watches and ends a child for every point.

Read the modules in this order; each imports only those before it (and scaling.processes):

preflight     what can be known to fail before any training starts
ancestry      whether the launcher above is still alive
stop_request  whether this process was asked to stop
agreement     how the parents of all ranks agree on what to do next
out_of_memory   the micro-batches not to try again
bookkeeping   which point runs next, under which lease, and how it ended
watchdog      whether a child makes progress
children      one fresh process per rank and point
attempt       one attempt at one point
parent        point after point
supervise     `scaling launch`: runs the launcher in its own session and does not rely on its exit code
"""
