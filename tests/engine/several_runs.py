"""Started by torchrun: several runs in one group of processes, ``{folder: options}`` as JSON.

A folder that holds a run is resumed. A run whose options make every process fail (``FailAt``) is resumed without that.
"""

import json
import sys

from ferbench.config import load_config
from ferbench.engine import api
from ferbench.errors import UserError


def main(config: str, data: str, runs: str) -> None:
    for folder, options in json.loads(runs).items():
        cfg = load_config(config, options, (), data)
        cfg.launcher = "pytorch"
        try:
            api.train(cfg, folder, resume=True)
        except UserError as error:
            if "is broken" not in str(error):
                raise
            cfg.custom_hooks[1].iteration = 0
            api.train(cfg, folder, resume=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
