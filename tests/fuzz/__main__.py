"""``python -m tests.fuzz``; what it does stands in ``driver.py``, which processes that it starts can import."""

import sys

from tests.fuzz.driver import main

sys.exit(main())
