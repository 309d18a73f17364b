"""Scaling-study harness.  Read the modules in this order; each imports only those before it.

units -> science -> spec -> points -> hardware -> placement -> cost -> confounds -> plan -> records
      -> ranks -> agreement -> children -> parent -> launch;  data/ -> train/, evaluate/;  cli is the face.
"""
