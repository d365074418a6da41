"""`make evaluation`: writes docs/EVALUATION.md."""

from __future__ import annotations

import sys
from pathlib import Path

from evaluation.history import HISTORY
from evaluation.page import page
from evaluation.result import Result

PAGE = Path(__file__).parents[2] / "docs" / "EVALUATION.md"


def main() -> int:
    if not HISTORY.is_dir():
        print("evaluation: no market history in shared/history beside the repository", file=sys.stderr)  # noqa: T201
        return 2
    PAGE.write_text(page(Result()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
