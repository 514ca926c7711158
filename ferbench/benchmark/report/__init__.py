"""The report on run records: tables, pictures and what may be said of them, as HTML, Markdown and LaTeX."""

from ferbench.benchmark.report.build import Options, watch, write_report

__all__ = ["Options", "watch", "write_report"]
