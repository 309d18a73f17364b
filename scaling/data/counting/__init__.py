"""What `scaling data count` counts in captions: documents per label, words, lengths."""
