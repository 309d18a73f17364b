"""The larger commands of `scaling`, which `scaling.cli` puts together; each imports what it needs when it is called.

Read the modules in this order; each imports only those before it:

arguments       arguments and output that commands have in common
tables          how far a sweep is, and what a conversion made, for the terminal
report_tables   tables of a report, for the terminal
data            `scaling data`: data sets rendered, converted, checked and counted
plan            `scaling plan` and `scaling profile`
studied         arguments of the commands that study sweeps, and the options they make
verdict         `scaling fit`, `compare` and `design`
report          `scaling report`
"""
