"""The commands of `scr3d`, one module each: its options as a frozen dataclass, and `run(args)`.

A module is imported when its command is called, so that none waits for the libraries of another.
"""
