"""How far the truth may be from a fitted law, and when that cannot be said.

interval    intervals and bands as values; a side that the points do not bound is open
asked       a fit in the form that was asked for, before a floor that ended at 0 was left out
clusters    leverage of cells, residuals corrected for it (CR2), degrees of freedom
draws       the signs of clusters, shared by all fits that have them
refusals    too few clusters, a cell that alone determines the law, too many failed refits
spread      from the values in many refits to intervals and bands: pointwise, simultaneous, for a new run
natural     between the coordinates of a form and the natural units of its parameters
refitting   every refit to its minimum
wild        wild cluster bootstrap: the refits, and intervals of whatever they imply
valley      minima over all parameters but one
profile     profile likelihood of a parameter
influence   what changes when a run or a cell is left out
resampling  nonparametric bootstrap, for the reproduction of published intervals
"""
