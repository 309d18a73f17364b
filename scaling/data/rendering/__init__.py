"""A data set that is drawn: scenes, their pictures and their captions, from a seed alone."""
