"""What the runs mean: records in, fitted laws, figures and a report out.  Never imports torch.

Read the modules in this order; each imports only those before it (and scaling.records, scaling.units):

load      one row per run directory, whatever became of the run
filters   which rows may enter a fit, and by which named rule the others may not
laws      error as a function of training compute; a law is an object with `predict`
projection    floor and scale in closed form for every exponent at once
problem   one fitting problem: points, residuals, landscape over the exponent
descent   from a start to a minimum
fit       a law from points; a fit is a value that carries its evidence, or says in words why there is no law
uncertainty   intervals and bands by resampling cells
study     points, fit and bootstrap of each objective
style     colours, markers, ticks and files of all figures
panels    what happens inside one pair of axes
figures   the figures of the report; a figure takes fits and never makes them
varied    what varied between the runs and what did not
wording   the sentences and number formats of the report
tables    the rows of the report's tables
plan_reality  what runs took beside what was planned for them
efficiency    utilisation, goodput and warnings of the finished runs
report    one self-contained HTML page
"""
