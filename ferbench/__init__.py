"""ferbench: semi-supervised facial expression recognition, compared fairly.

Importing this package loads nothing heavy; `ferbench --help` answers at once.
"""

from ferbench.version import __version__

__all__ = ["__version__"]
