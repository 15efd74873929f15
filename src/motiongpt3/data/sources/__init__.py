"""Sources of motion capture; each writes a dataset in HumanML3D's layout."""
