"""What people say about loading a module: each sentence tried, each with a verdict."""
