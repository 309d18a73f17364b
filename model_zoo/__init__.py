"""What we train: image towers, text towers and the two objectives.  Imports nothing else of this project.

Read in this order: architectures -> counts -> targets -> image_tower, text_tower, classification_head
-> losses -> objective -> superclass, clip -> build.
`architectures` and `counts` import no torch, so that planning is instant.
"""
