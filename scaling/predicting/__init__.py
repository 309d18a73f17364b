"""Predicts what one point needs on its devices: memory, time, bytes, in closed form.  No torch.

Read the modules in this order; each imports only those before it (and scaling.placement, hardware, cost):

workload      what of a point's science decides its memory and its speed
traffic       bytes that a rank sends per optimizer step
throughput    seconds of an optimizer step
state_memory  bytes of the training state, by engine and ZeRO stage
step_memory   the moments of a step at which memory may peak
memory        the peak, by class
feasibility   which placement fits the devices, and which of those is fastest
storage       bytes that a run reads and writes
calibration   measured over predicted, from finished runs
prediction    all of the above for one point, as the plan and its record keep it
"""
