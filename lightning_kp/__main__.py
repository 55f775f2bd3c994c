"""``python -m lightning_kp`` is ``kp``."""

import sys

from lightning_kp.cli import main

sys.exit(main())
