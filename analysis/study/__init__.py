"""What a sweep says about one metric: from the table of runs to laws and a comparison.

points     the runs of one objective as points of a fit: covariates, errors and their variance, clusters
tuned      which runs count where several settings were tried in a cell
alike_towers  towers of nearly equal parameters that a law takes for one
study      fits, refits and comparison of a metric over a whole sweep
foreign    the same for results of others
metrics    which metrics of a sweep are studied
sweep      the studies of a sweep folder, its holdout sealed
next_runs  what to train next
isoflop    runs of equal compute and the valley they lie in
ledger     every filter, whom it left out, and what it does to the conclusion
"""
