"""Records made by hand, and nothing of the reader's process left behind."""

from example_records import cell, failed_record, make_record, make_result  # noqa: F401 - fixtures
from tiny_experiment import command, config_file, images, make, process_state  # noqa: F401 - fixtures
