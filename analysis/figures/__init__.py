"""The figures of a study: drawn from its results, and none of them fits anything.

style     how every figure looks
drawing   a figure with its numbers and its words
"""
