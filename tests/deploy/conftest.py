"""The very small experiment."""

from tiny_experiment import config_file, images, make, process_state  # noqa: F401 - fixtures
