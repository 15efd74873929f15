"""Encoders of motions and texts that metrics are measured with."""
