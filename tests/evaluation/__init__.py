"""What the phase machine finds in real history (methodology 7.6): `make evaluation`."""
