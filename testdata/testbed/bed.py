"""Entry of the test-bed: ``python3 testdata/testbed/bed.py up|down|status|env``. See README.md beside it."""

import sys
from pathlib import Path

# Run as a script, it finds its modules as a package, whatever the working directory.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from testbed.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
