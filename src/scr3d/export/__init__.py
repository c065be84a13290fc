"""What leaves scr3d: meshes, pictures, animations and the gallery page."""
