"""`scr3d doctor`: what this installation has, whether it works, and what to do where it does not.

Nothing here is imported that may be missing or broken; every part is tried by itself.
"""
