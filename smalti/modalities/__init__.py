"""One room for each kind of data, which do not see each other."""
