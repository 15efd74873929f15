"""Measuring motion: what a body did, how physical it looks, and how well a model follows its prompts."""
