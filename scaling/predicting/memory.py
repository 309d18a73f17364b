"""The memory that a point takes on each of its devices at its peak, by class, in closed form.  No torch.

A step has a few moments at which memory may be largest (model_zoo/activation_timeline.py); the prediction is the
largest of them.  Evaluation and loading take less and are left out, and so is what torch.compile saves.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from scaling.placement import Placement
from scaling.predicting.step_memory import MomentMemory, MomentName, moments, step_memory
from scaling.predicting.workload import Workload, workload_of
from scaling.sweep.science import Science

FRAGMENTATION = 0.05  # of all else, lost between the allocator's blocks: assumption until runs report it

MEMORY_CLASSES = (
    *("parameters", "gradients", "optimizer_states", "activations", "logits"),
    *("similarity_matrix", "buffers", "communication", "fragmentation"),
)


class MemoryEstimate(BaseModel):
    """Bytes on one device at the moment of the predicted peak, and apart from them those in the host's memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    moment: MomentName
    parameters: int  # float32 masters, and whatever else an engine keeps of weights from step to step
    gradients: int
    optimizer_states: int
    activations: int  # kept, recomputed, and their gradients; copies of weights in the precision of products
    logits: int  # the block of them that the classification head holds
    similarity_matrix: int  # of contrastive losses
    buffers: int  # images, label statistics
    communication: int  # buckets of gradients; weights and embeddings gathered from other ranks
    fragmentation: int  # allowance
    host: int  # not on the device but in the CPU's memory, by offloading

    @property
    def total(self) -> int:
        """All that has to fit on the device."""
        return sum(getattr(self, name) for name in MEMORY_CLASSES)

    def needed(self, *, on_accelerator: bool) -> int:
        """All that has to fit into the device's memory; a CPU's is the host's, and holds what is offloaded, too."""
        return self.total if on_accelerator else self.total + self.host

    @property
    def allocated(self) -> int:
        """The total without the allowance for fragmentation: what an allocator counts."""
        return self.total - self.fragmentation


def predicted_memory(
    science: Science, placement: Placement, *, on_accelerator: bool = True
) -> MemoryEstimate:
    """The predicted peak of one device; `on_accelerator`: a GPU, whose head holds larger blocks of logits."""
    return memory_of(workload_of(science), placement, on_accelerator=on_accelerator)


def memory_of(workload: Workload, placement: Placement, *, on_accelerator: bool) -> MemoryEstimate:
    """As `predicted_memory`, of any point with this workload."""
    step = step_memory(workload, placement, on_accelerator)
    largest = max(moments(step), key=MomentMemory.sum)
    allocated = largest.sum()
    return MemoryEstimate(
        moment=largest.moment,
        parameters=step.state.parameters,
        gradients=largest.gradients,
        optimizer_states=step.state.optimizer_states,
        activations=largest.activations,
        logits=largest.logits,
        similarity_matrix=largest.similarity_matrix,
        buffers=largest.buffers,
        communication=largest.communication,
        fragmentation=int(FRAGMENTATION * (allocated + step.state.parameters + step.state.optimizer_states)),
        host=step.state.host + step.offloaded_activations,
    )
