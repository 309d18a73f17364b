"""What the runs mean: records in, a verdict with honest intervals and a report out.  Never imports torch.

Read the packages in this order; each imports only those before it (and scaling.records, scaling.units):

load         one row per run directory, whatever became of the run
filters      which rows may enter a fit, and by which named rule the others may not
varied       what varied between the runs and what did not
forms        the functional forms of scaling laws; a law is a form with its numbers
fitting      from points to a law, with evidence instead of trust
frontier     the least error at a compute, from a fitted surface
intervals    how far a law would move: wild cluster bootstrap, profiles, influence
selection    which form, how it predicts forward, and the sealed holdout
comparison   two objectives at equal compute: difference, ratio, crossing, nested laws
study        what a sweep says about one metric; the ledger of its filters
published    the numbers of the SuperClass paper, with their sources
imports      results of others as the table of a study
design       which runs to train next, and what shapes of study can tell
figures      publication-quality figures; a figure takes results and never fits anything
report       one self-contained HTML page
tensorboard  hparams and custom scalars of a sweep
show         figures and tables in a notebook; notebooks/ call functions only
"""
