"""Leverage monitor: tells, live and with evidence, whether the crypto derivatives market has deleveraged.

Frames from venues become events, events become one-second states, states become rolling windows,
windows become metrics that Prometheus scrapes. `docs/ARCHITECTURE.md` shows the way on one page.
"""

import os

# polars reads this once, at import. One thread costs least on a small machine and makes every sum
# run in the same order, so that a replay reproduces the published text to the byte.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

__version__ = "2026.11.0"
