"""Scaling-study harness: from a sweep file to a record of every run.

Read in this order; each line imports only those above it, and a package's docstring says how to go on inside:

units, suggest, disk, records   quantities, mistyped names, files that stay whole, what a run leaves behind
sweep/, hardware      the keys of a sweep file, their types and rules; named accelerators
placement, inputs/    how a point is spread over ranks; the files that a sweep names
cost, spec            model FLOPs; the sweep file, typed
predicting/           what one point needs on its devices: memory, time, bytes
confounds, points, trunks   what must not vary; the sweep expanded into run points; which of them share steps
planning/, plan       what the sweep costs, agreed on before it runs
processes/            how the parents and children of a run communicate
data/, train.engines, checkpoints/   samples in; DeepSpeed and FSDP2; the state of training on disk
evaluate/, train/     scores; one rank of one point, top to bottom
launching/, launch    the parents that start and watch the children; a sweep in one job
slurm, export, profile/, drill/   a job per point; weights for others; where time goes; faults played on purpose
commands/, cli        the `scaling` command
"""
