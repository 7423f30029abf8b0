"""What goes into a guest: which files, which stay behind, and the image they travel in."""
