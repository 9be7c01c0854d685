"""A packing cell: goods on a moving belt, the camera above it, the robot that packs and the scanner
downstream.

`render` draws what the camera sees, `goods` decides what lies on the belt, `world` decides what a cell
does and counts, and `cell` connects one to a line. Everything random comes from a seed.
"""
