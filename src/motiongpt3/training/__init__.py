"""Training: one Lightning module for each thing that is trained."""
