"""The functional forms of scaling laws.  A form is a shape without numbers; a law is a form with its numbers.

form        what every form can do, and the law as a value
terms       power terms of covariates, shared by all that follows
projection  amplitudes in closed form over a grid: where fits start
floored     what unbounded laws share: an additive floor
powers      sums of powers of compute, or of parameters and samples, with or without a floor
bounded     the same behind a bounded link, for error rates: between a floor and the error of guessing
single      what laws of one covariate with one amplitude share
shifted     a power that levels off below some compute
broken      a power whose exponent changes once
repeated    a surface in which repeated samples and excess parameters count for less
isoflop     parabola and cubic over one compute, and the bottom of the valley
pinned      any form with some parameters known
catalogue   every form by its name
"""
