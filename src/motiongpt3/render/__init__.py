"""Pictures and films of motion, drawn in software: no OpenGL, no display.

``skeleton`` is what callers use: `render_frames`, `write_video`, `write_strip`.
"""
