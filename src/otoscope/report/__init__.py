"""Reports: results of explanations and evaluations as pages that need nothing but a browser."""

from otoscope.report.page import Report, ReportOptions, write_report
from otoscope.report.results import Results, read_results

__all__ = ["Report", "ReportOptions", "Results", "read_results", "write_report"]
