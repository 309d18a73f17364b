"""The inputs and uses of a plan, which is itself in `scaling.plan`.  No torch.

Read the modules in this order; each imports only those before it:

schedule      how long a sweep takes when several of its runs train at once
spending      what of a run's cost is spent, where another run of its trunk has gone before
budget        which runs a budget affords
              (then scaling/plan.py)
holdout       which runs no law is fitted to until they are opened
accelerator_file   devices that a user describes
requested_plan   a plan as a user asks for it: so many devices, a price, a budget
contract      whether a launch still keeps to its plan
plan_table    the plan as tables
plan_notes    what its figures assume, in sentences
"""
