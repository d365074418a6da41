"""Speed, as ratios measured side by side: `python tests/bench.py --help`. The parts are in `bench/`."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_suffix("")), run_name="__main__")
