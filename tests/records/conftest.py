"""Records made by hand."""

from example_records import cell, failed_record, make_record, make_result  # noqa: F401 - fixtures
