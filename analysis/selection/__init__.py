"""Which form, and how far it may be trusted beyond the runs.

candidates  the forms that compete, fixed before any run is seen
criteria    AICc from a fit
forward     forward validation: fit below a share of the largest compute, predict what lies above
select      the chosen form with the scores of all, their stack, and the spread of the admissible ones
holdout     the largest cells, sealed until they are opened on record
"""
