"""What we train: image towers, text towers and the objectives.  Imports nothing else of this project.

Read in this order; each imports only those before it, and the first line's load no torch, so that planning is instant.

tower_shapes -> architectures -> specification -> tower_counts -> counts
-> targets -> precision, across_ranks
-> batch_norm -> image_tower; text_tower
-> positives -> negatives -> classification_losses; tiling, huge_pages -> streamed_logits -> fused_classification
-> classification_head
-> contrastive_losses
-> objective -> superclass; contrastive_towers -> clip, siglip, superclip, lit -> build
-> renaming -> open_clip_format -> weight_files -> weights; transformers_format -> exported_files -> export
"""
