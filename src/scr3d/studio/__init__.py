"""The studio: a page on which the factors of a photo can be seen and moved.

State and what follows from it are plain objects and functions (photos, editing, appearance, what_if, compare, runs,
downloads); `panels` and `app` tie them to viser, which draws the page.
"""
