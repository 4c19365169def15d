"""Kernels, modules and images, built once and kept in a content-addressed cache."""
