"""`python -m kerasep`."""

import sys

from kerasep.cli import main

if __name__ == "__main__":
    sys.exit(main())
