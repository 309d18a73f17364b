"""From points to a law, with evidence instead of trust.

observations  the points of a fit: covariates, errors, their known variance, clusters
options       what is minimised
losses        least squares, Huber and absolute residuals, and the scale of residuals
problem       observations as seen by a form: scaled covariates, targets, weights; residuals of many laws at once
descent       from many starts to their minima, all at once (Levenberg-Marquardt)
polish        the last digits of a minimum, and how much it could still gain
absolute      least absolute residuals to optimality (linear programs)
search        from the seeds of a form to the minima of the stated loss
evidence      what makes a minimum believable
fit           a law with its evidence, or a typed status and a reason in words
sensitivity   the same fit with other Huber deltas
reproduction  estimators of earlier work, for reproducing it only
"""
