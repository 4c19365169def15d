"""One module as it was observed, as data: experiments fill it, claims and drawings read it. Pure."""
