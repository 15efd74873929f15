"""Distances in the space of an evaluator: FID, R-precision, matching score, diversity, multimodality."""
