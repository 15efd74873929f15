"""Datasets of motion and text: HumanML3D's layout on disk, and the sources that are turned into it."""
