"""Kernels: found, downloaded, or compiled from source with every requested option checked."""
