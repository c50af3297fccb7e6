"""`python -m kerasep`."""

import sys

from kerasep.cli import main

sys.exit(main())
