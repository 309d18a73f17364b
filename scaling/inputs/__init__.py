"""The files that a sweep names: found, checked, and known by their content rather than their path.  No torch.

Read the modules in this order; each imports only those before it (and scaling.sweep):

written_paths   paths as a sweep file writes them
shard_index   how many samples an MDS folder holds, and the digest of its content
train_sources   the training pairs: one folder or several in proportion, of this machine or remote
data_paths    all data sets of a sweep
vocabulary_files   what a counting pass writes: words, and counts of labels
tokenizer_files   what a tokenizer.json tells of its tokenizer
labels        which labels captions get, and how often each stands in the training set
point_files   the files of one point besides its data sets
"""
