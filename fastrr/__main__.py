"""``python -m fastrr`` is the ``fastrr`` command."""

import sys

from fastrr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
