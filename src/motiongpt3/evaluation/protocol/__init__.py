"""How a model is evaluated: which clips, which lengths, how often, and in what order."""
