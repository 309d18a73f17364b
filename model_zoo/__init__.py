"""What we train: image towers, text towers and the objectives.  Imports nothing else of this project.

Read in this order; each module imports only those before it.  Those of the first four lines load no torch, so that
planning takes a second.

tower_shapes -> architectures -> specification -> activation_segments
-> block_counts -> convolution_counts -> tower_counts -> counts -> hardware_counts; optimizer_counts
-> language_model_counts -> phase_counts
-> convolution_activations -> activation_counts -> activation_timeline; tiling -> loss_memory
-> targets -> precision, across_ranks
-> batch_norm -> image_tower; text_tower; blocks; kept_operations -> activation_checkpointing
-> positives -> negatives -> classification_losses; huge_pages -> streamed_logits -> fused_classification
-> classification_head
-> contrastive_losses
-> objective -> superclass; contrastive_towers -> clip, siglip, superclip, lit -> build
-> renaming -> open_clip_format, transformers_format -> weight_files -> weights; exported_files -> export
"""
