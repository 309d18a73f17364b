"""`scaling data count`: in how many captions each label stands, word vocabularies, lengths of captions."""
