"""``python -m motiongpt3`` is the command ``motiongpt3``."""

import sys

from motiongpt3.cli.main import main

sys.exit(main())
