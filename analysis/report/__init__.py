"""The report of one or several sweeps: one self-contained HTML page.

blocks       what a page is made of: sections, tables, figures, sentences
sensitivity  what the conclusion hangs on: single runs, cells, the form
holdout      sealed, or opened and predicted against measured
findings     everything a page says of one sweep, computed before a word is written
answer ... reproduce   the blocks of each section
sections     the sections of a sweep in their order
render       sections as HTML that refers to nothing outside itself
page         from sweep folders to the written page
"""

from analysis.report.page import write_report

__all__ = ["write_report"]
