"""Draw synthetic faces in the layouts of real data: the same as ``ferbench make-synthetic``."""

import sys

from ferbench.cli import main

if __name__ == "__main__":
    sys.exit(main(["make-synthetic", *sys.argv[1:]]))
