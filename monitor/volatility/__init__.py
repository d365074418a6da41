"""What a price does: estimators of volatility, over bars and over closes, and bitcoin's ratio to gold's."""
