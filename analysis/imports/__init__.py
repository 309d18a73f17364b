"""Results of others as tables of a study: what their columns mean is data (YAML), never code.

mapping          what a mapping file may say, with every mistake named
conventions      what a compute number counts, and its training FLOPs
json_lines       files of one JSON object per line
open_clip_logs   a folder of open_clip runs as one raw table
raw_tables       CSV, parquet, JSON lines and those logs as they are
columns          one column of the study from the raw table, or file, column, value, rule and fix
results          import_results: the tidy table
*.yaml           the mappings that come with the package, examples for your own
"""

from analysis.imports.mapping import BUILTIN_MAPPINGS, ResultsMapping, read_mapping
from analysis.imports.results import compute_axis_label, import_results

__all__ = ["BUILTIN_MAPPINGS", "ResultsMapping", "compute_axis_label", "import_results", "read_mapping"]
