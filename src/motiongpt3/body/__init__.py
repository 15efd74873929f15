"""Bodies: joint rotations in, vertices out; and the rotations that put a body where joints are.

Rotations are SMPL's: each joint turns everything below it, relative to its parent, from a T-pose whose axes
are x to the body's left, y up, z forward.
"""
