"""Pictures and films of motion, drawn in software: no OpenGL, no display.

What callers use: `film` (frames, films), `stills` (one pose, or a whole motion in one picture) and `skeleton`
(strips of poses side by side).
"""
