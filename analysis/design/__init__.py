"""What to train next: the pairs of runs that narrow the interval of the equal-compute ratio most per device-hour.

beliefs     the two laws, their menus and the noise that a design is judged by
cells       cells, and how many runs of each objective a design has in each
noise       cell and run noise, estimated from two fits or assumed
ratio       the log ratio at a compute and its derivatives by the parameters of both laws
precision   the expected interval of the ratio for a design, by the delta method
simulate    the same by brute force: simulated studies, fitted
greedy      a search for the pairs that narrow it most
propose     pairs to train next under a budget, with where the study stands after each
assumed     laws for a study that has not run yet
shapes      shapes of a study and what each is worth
tables      rows of text for a report and a terminal
simulated_runs     runs drawn around two laws, so that the truth is known
simulated_folder   the same as a sweep folder, through the real records
"""
