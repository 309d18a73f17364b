"""Scaling-study harness.  Read the modules in this order; each imports only those before it.

units -> field_types -> science_rules -> science -> placement -> spec -> records, labels -> point_files
      -> hardware -> cost -> confounds -> points -> workload -> memory, throughput -> feasibility
      -> calibration -> prediction -> plan -> contract -> ranks -> agreement -> children -> parent -> launch;
data/ -> train/, evaluate/;  cli is the face.
"""
