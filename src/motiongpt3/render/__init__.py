"""Pictures and films of motion.

What callers use: `film` (frames, films), `stills` (one pose, or a whole motion in one picture) and `strips`
(poses side by side), drawn in software without OpenGL or a display; and `blender`.
"""
