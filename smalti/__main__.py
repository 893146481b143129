"""`python -m smalti`: the command line."""

import sys

from smalti.cli import main

if __name__ == "__main__":
    sys.exit(main())
