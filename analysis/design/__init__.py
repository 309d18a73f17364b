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
"""

from analysis.design.assumed import assumed_beliefs
from analysis.design.beliefs import Belief, Beliefs
from analysis.design.cells import Cell, Design
from analysis.design.greedy import Candidate
from analysis.design.noise import Noise, noise_of
from analysis.design.precision import Precision, precision
from analysis.design.propose import Proposal, candidates, measured_flops_per_hour, propose, propose_for
from analysis.design.shapes import DEFAULT_SHAPE, StudyShape, expected_precision, study_shapes
from analysis.design.tables import default_reason, design_table, proposal_table, text_table

__all__ = [
    "DEFAULT_SHAPE",
    "Belief",
    "Beliefs",
    "Candidate",
    "Cell",
    "Design",
    "Noise",
    "Precision",
    "Proposal",
    "StudyShape",
    "assumed_beliefs",
    "candidates",
    "default_reason",
    "design_table",
    "expected_precision",
    "measured_flops_per_hour",
    "noise_of",
    "precision",
    "proposal_table",
    "propose",
    "propose_for",
    "study_shapes",
    "text_table",
]
