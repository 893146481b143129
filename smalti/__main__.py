"""`python -m smalti`: the command line."""

import sys
from pathlib import Path

# Python puts the working folder first among the places of modules: nothing of smalti lies there
# but in a checkout of its own, and what a stranger's folder holds is not to be run.
if sys.path and sys.path[0] in ("", str(Path.cwd())) and Path.cwd() not in Path(__file__).parents:
    del sys.path[0]

from smalti.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
