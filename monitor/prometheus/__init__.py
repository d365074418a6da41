"""What Prometheus reads: the exposition, history as blocks of its own, and what alerts would have done."""
