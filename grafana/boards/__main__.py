"""`python -m grafana.boards [FOLDER]` writes the dashboards, by default where they are provisioned from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.boards import cme_etf, deleveraging, health, liquidations, venues, volatility

FOLDER = Path(__file__).parents[1] / "dashboards"
BOARDS = (deleveraging, venues, liquidations, volatility, cme_etf, health)


def main(folder: Path = FOLDER) -> None:
    """One file per dashboard, named by its uid; a file of a dashboard that is gone goes too."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for board in BOARDS:
        dashboard = board.board().build()
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True)
        made[f"{dashboard.uid}.json"] = text + "\n"
    for old in folder.glob("*.json"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
