"""What the SuperClass paper printed, as tidy tables, and what its three points per objective can and cannot show.

tables         Tables 1-12 (superclass_tables.csv), with the source of every number
pairs          CLIP and SuperClass at equal image tower and samples, with their training compute (forward_flops.csv)
exact_law      the law of three parameters through three points
three_points   slopes, the exactly determined law, leave-one-out and the ratio at equal error, in words
"""

from analysis.published.pairs import published_pairs
from analysis.published.tables import TABLES, published_table
from analysis.published.three_points import three_points

__all__ = ["TABLES", "published_pairs", "published_table", "three_points"]
