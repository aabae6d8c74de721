"""The report of a run: one page, readable offline; and one of several runs."""

from testbed.report.overview import write_overview
from testbed.report.page import write_report

__all__ = ["write_overview", "write_report"]
