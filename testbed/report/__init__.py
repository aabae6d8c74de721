"""The report of a run: one page, readable offline."""

from testbed.report.page import write_report

__all__ = ["write_report"]
