"""The observations of one module as data: experiments fill it, claims and drawings read it. Pure."""
