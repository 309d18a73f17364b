"""The figures of a study: drawn from its results, and none of them fits anything.

Every figure is a `Drawing` at one of two widths of print, with its numbers, its message in words and its provenance.

drawing     a figure with its numbers and its words
files       a drawing as PDF, SVG, PNG, CSV and JSON
provenance  what the numbers rest on, as JSON
style       pages, colours, markers, ticks
lettering, labels, key, layout, words   type; direct labels; the key above the axes; panels; numbers in prose
curves, runs, frontier, regions         what several figures draw: rows, runs, frontiers, stretches of compute

error, error_words                      error against compute with the frontier that the surface implies
ratio, difference, comparison_words     two objectives at equal compute
slices, isoflop, valleys, residuals     the surface against its runs
profiles, influence, fan                how far a law may be trusted: parameters, single cells, extrapolation
identity                                predicted and measured: cost, and the opened holdout
collapse, scores                        training curves; scores without a law
"""
