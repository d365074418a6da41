"""What gold, supply, CME and ETF flows come to: fair value, positions and liquidation, redemptions. Pure."""
