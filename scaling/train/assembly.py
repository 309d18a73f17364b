"""Builds the parts of a point on one rank: the objective in its engine, the label statistics, the training stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from model_zoo.build import build_objective
from model_zoo.weights import initial_image_tower_weights, load_weights
from scaling.data.batches import CaptionSettings, TargetKind
from scaling.data.images.augmentation import Augmentation
from scaling.data.stream.machine_lock import one_at_a_time_on_this_machine
from scaling.data.stream.sources import StreamSource
from scaling.data.stream.training_stream import StreamSettings, TrainingStream
from scaling.data.text.tokenizers import load_tokenizer
from scaling.inputs.labels import VocabularyFacts, read_label_counts, vocabulary_facts
from scaling.inputs.train_sources import mixture_digest, source_index
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment
from scaling.processes.residue import note_streaming_segments
from scaling.sweep.field_types import RANDOM
from scaling.sweep.science import Science
from scaling.train.engines import build_engine
from scaling.train.engines.protocol import Engine, EngineSettings
from scaling.train.idf import LabelStatistics, build_statistics


def assemble_engine(point: RunPoint) -> Engine:
    """The engine that trains the point, its objective initialised and on its device."""
    science, placement = point.science, point.placement
    objective = build_objective(
        science.specification,
        seed=science.seed,
        activation_checkpointing=placement.activation_checkpointing,
        activation_checkpointing_every=placement.activation_checkpointing_every,
        head_recompute=placement.head_recompute,
    )
    if science.image_init != RANDOM:
        weights = initial_image_tower_weights(
            str(point.data.image_weights or science.image_init),
            science.specification.image,
            image_size=science.image_size,
            pooling=science.pooling,
        )
        load_weights(objective.image_tower, weights, source=science.image_init)
    per_rank = science.global_batch // placement.num_ranks
    settings = EngineSettings(
        global_batch=science.global_batch,
        micro_batch=placement.micro_batch,
        num_micro_batches=per_rank // placement.micro_batch,
        zero_stage=placement.zero_stage,
        shard_ranks=placement.shard_ranks,
        offload=placement.offload,
        overlap_communication=placement.overlap_communication,
        bucket_elements=placement.bucket_elements,
        compile=placement.compile,
        learning_rate=science.learning_rate,
        weight_decay=science.weight_decay,
        adam_beta1=science.adam_beta1,
        adam_beta2=science.adam_beta2,
        adam_epsilon=science.adam_epsilon,
        gradient_clipping=science.gradient_clipping,
        bf16_autocast=science.precision == "bf16_autocast",
    )
    return build_engine(placement.engine, objective, settings)


def assemble_statistics(point: RunPoint, device: torch.device) -> LabelStatistics:
    """The label statistics of the point's IDF mode, before the first sample."""
    science, frozen = point.science, None
    if science.idf == "frozen":
        assert point.data.label_counts is not None
        counts = read_label_counts(
            point.data.label_counts,
            choice=point.tokenizer,
            vocabulary=VocabularyFacts(size=science.vocabulary_size, digest=science.vocabulary_digest),
            context_length=science.context_length,
            remove_stop_words=science.remove_stop_words,
            reference_compat=science.reference_compat,
        )
        frozen = torch.from_numpy(counts.counts_V), counts.num_samples
    return build_statistics(science.idf, science.vocabulary_size, device, frozen)


def _check_vocabulary(point: RunPoint) -> None:
    """ValueError unless the vocabulary is the planned one; with another, runs would train but not be comparable."""
    science, facts = point.science, vocabulary_facts(point.tokenizer)
    planned = VocabularyFacts(size=science.vocabulary_size, digest=science.vocabulary_digest)
    if facts != planned:
        raise ValueError(
            f"tokenizer {science.tokenizer}: the vocabulary {point.data.vocabulary} has {facts.size:,} ids and the "
            f"digest {facts.digest!r}, but this run was planned with {planned.size:,} and {planned.digest!r}: the file "
            "was changed meanwhile. Restore it, or launch the sweep again, which makes another run of it."
        )


def _check_training_set(point: RunPoint) -> None:
    """ValueError if the training set, here or remote, has changed since the plan: it is another experiment."""
    sources = point.data.train
    found = [index for source in sources if (index := source_index(source, require_data=True)) is not None]
    digest = mixture_digest(sources, found) if len(found) == len(sources) else "of no data"
    if digest != point.science.data_digest:
        names = ", ".join(source.remote or str(source.folder) for source in sources)
        raise ValueError(
            f"data.train: {names} has the digest {digest!r}, but this run was planned with "
            f"{point.science.data_digest!r}: the set was changed meanwhile. Restore it, or launch the sweep again, "
            "which makes another run of it."
        )


def augmentation_of(science: Science) -> Augmentation:
    """How training images vary, and the statistics taken out of all pixels."""
    return Augmentation(
        **science.model_dump(include={field.name for field in dataclasses.fields(Augmentation)})
    )


def caption_settings(science: Science) -> CaptionSettings:
    """How captions become targets: labels where the objective classifies, rows of tokens where it has a text tower."""
    kind = science.specification.kind
    with_tokens: TargetKind = "both" if kind.classifies else "tokens"
    return CaptionSettings(
        kind="labels" if kind.contrasts is None else with_tokens,
        context_length=science.context_length,
        remove_stop_words=science.remove_stop_words,
        reference_compat=science.reference_compat,
    )


def assemble_stream(
    point: RunPoint, assignment: Assignment, barrier: Callable[[], None], *, pin_memory: bool
) -> TrainingStream:
    """The training stream of this rank; ValueError if the vocabulary is not the one that was planned with."""
    science = point.science
    _check_vocabulary(point)
    if assignment.rank.is_local_leader:
        _check_training_set(point)
    settings = StreamSettings(
        sources=tuple(
            StreamSource(local=source.folder, remote=source.remote, proportion=source.proportion)
            for source in point.data.train
        ),
        seed=science.seed,
        global_batch=science.global_batch,
        image_size=science.image_size,
        augmentation=augmentation_of(science),
        captions=caption_settings(science),
        unique_samples=science.unique_samples,
        cache_limit=point.placement.cache_limit_bytes or None,
        bad_samples=point.placement.bad_samples,
    )
    rank = assignment.rank
    with one_at_a_time_on_this_machine(rank.is_local_leader, barrier):
        stream = TrainingStream(
            settings,
            load_tokenizer(point.tokenizer),
            num_ranks=rank.num_ranks,
            num_workers=point.placement.num_workers,
            pin_memory=pin_memory,
            scratch=assignment.scratch,
        )
    if rank.is_local_leader:
        note_streaming_segments(assignment.scratch, stream.shared_memory_prefix)
    return stream
