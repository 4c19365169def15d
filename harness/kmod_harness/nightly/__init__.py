"""The guest tests over a matrix of machines: one pytest process a cell, one summary, one exit status."""
