"""`python -m cymf` is the command `cymf`."""

import sys

from cymf.cli import main

sys.exit(main())
