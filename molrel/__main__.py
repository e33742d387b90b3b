"""``python -m molrel`` is the ``molrel`` command."""

import sys

from molrel.cli import main

sys.exit(main())
