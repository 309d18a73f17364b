"""The report of one or several sweeps: one self-contained HTML page."""

from analysis.report.old_page import write_report

__all__ = ["write_report"]
