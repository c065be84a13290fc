"""Data: stores, folders of images, and the synthetic heads."""
