"""Parts of one's own for ferbench: importing this package registers them."""

from ferbench_example.jaffe import Jaffe
from ferbench_example.top_share import TopShareThreshold

__all__ = ["Jaffe", "TopShareThreshold"]
