"""Sentences that people say about loading a module: each tried, each with a verdict."""
