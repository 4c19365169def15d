"""Kernels, modules and images: built once, kept in a content-addressed cache."""
