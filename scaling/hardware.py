"""Named accelerators: dense peak rates, memory and links, each with its source. Never matched by substring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scaling.suggest import did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """One device as its data sheet describes it."""

    name: str
    peak_bf16_flops: float  # per second, matrix units, dense (half of what data sheets print "with sparsity")
    peak_fp32_flops: float  # per second, without TF32
    memory_bytes: float
    memory_bytes_per_second: float  # between its memory and its arithmetic, read or written
    # one way, to another device of the same machine; data sheets print both ways
    link_bytes_per_second: float
    source: str
    # of renting one; none in our table, as prices differ by seller and month
    usd_per_hour: float | None = None

    @property
    def is_apart(self) -> bool:
        """Whether it has memory of its own, apart from the host's."""
        return self.name != "cpu_core"


def _cpu_core() -> Accelerator:
    """One core with AVX512-BF16 (Zen 4, Sapphire Rapids without AMX) at an assumed 3 GHz.

    bf16: VDPBF16PS on 512 bits multiplies and adds 32 pairs; one instruction per cycle: 32 x 2 x 3e9 = 192e9.
    fp32: VFMADD on 512 bits multiplies and adds 16 lanes; one instruction per cycle: 16 x 2 x 3e9 = 96e9.
    """
    clock_hertz, instructions_per_cycle = 3e9, 1
    return Accelerator(
        name="cpu_core",
        peak_bf16_flops=32 * 2 * instructions_per_cycle * clock_hertz,
        peak_fp32_flops=16 * 2 * instructions_per_cycle * clock_hertz,
        memory_bytes=4e9,  # a usual share of a server's memory per core (assumption)
        memory_bytes_per_second=10e9,  # a core's share of the machine's memory bandwidth (assumption)
        link_bytes_per_second=10e9,  # ranks of one machine exchange through its memory
        source="vector width x clock",
    )


def _gpu(
    name: str,
    bf16_tflops: float,
    fp32_tflops: float,
    memory_gigabytes: float,
    memory_terabytes_per_second: float,
    link_gigabytes: float,
    source: str,
) -> Accelerator:
    return Accelerator(
        name=name,
        peak_bf16_flops=bf16_tflops * 1e12,
        peak_fp32_flops=fp32_tflops * 1e12,
        memory_bytes=memory_gigabytes * 1e9,
        memory_bytes_per_second=memory_terabytes_per_second * 1e12,
        link_bytes_per_second=link_gigabytes * 1e9,
        source=source,
    )


_NVLINK_3, _NVLINK_4, _NVLINK_5 = 600 / 2, 900 / 2, 1800 / 2  # GB/s one way
_PCIE_4, _PCIE_5 = 64 / 2, 128 / 2  # 16 lanes

_TABLE = (
    _gpu(
        "b200", 2250, 75, 180, 8, _NVLINK_5, "NVIDIA HGX B200: 36 PFLOP/s with sparsity over 8 GPUs; 1,440 GB"
    ),
    _gpu("h200_sxm", 989.4, 66.9, 141, 4.8, _NVLINK_4, "NVIDIA H200 data sheet: 1,979 TFLOP/s with sparsity"),
    _gpu("h100_sxm", 989.4, 66.9, 80, 3.35, _NVLINK_4, "NVIDIA H100 data sheet: 1,979 TFLOP/s with sparsity"),
    _gpu("h100_pcie", 756, 51.2, 80, 2, _PCIE_5, "NVIDIA H100 PCIe data sheet: 1,513 TFLOP/s with sparsity"),
    _gpu("a100_sxm_80gb", 312, 19.5, 80, 2.039, _NVLINK_3, "NVIDIA A100 data sheet: 312 TFLOP/s dense"),
    _gpu("a100_sxm_40gb", 312, 19.5, 40, 1.555, _NVLINK_3, "NVIDIA A100 data sheet: 312 TFLOP/s dense"),
    _gpu("l40s", 362, 91.6, 48, 0.864, _PCIE_4, "NVIDIA L40S data sheet: 733 TFLOP/s with sparsity"),
    _gpu(
        "rtx_4090",
        165.2,
        82.6,
        24,
        1.008,
        _PCIE_4,
        "NVIDIA Ada white paper: 165.2 TFLOP/s dense, fp32 accumulation",
    ),
    _cpu_core(),
)

ACCELERATORS: Mapping[str, Accelerator] = MappingProxyType({device.name: device for device in _TABLE})

ALIASES: Mapping[str, str] = MappingProxyType({"h200": "h200_sxm"})  # families of which the table holds one

# the names as torch.cuda.get_device_name and nvidia-smi print them
DRIVER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "NVIDIA B200": "b200",
        "NVIDIA H200": "h200_sxm",
        "NVIDIA H100 80GB HBM3": "h100_sxm",
        "NVIDIA H100 PCIe": "h100_pcie",
        "NVIDIA A100-SXM4-80GB": "a100_sxm_80gb",
        "NVIDIA A100-SXM4-40GB": "a100_sxm_40gb",
        "NVIDIA L40S": "l40s",
        "NVIDIA GeForce RTX 4090": "rtx_4090",
    }
)


def accelerator(name: str, known: Mapping[str, Accelerator] = ACCELERATORS) -> Accelerator:
    """The accelerator of that exact name or alias; ValueError with the nearest one and all known otherwise."""
    found = known.get(ALIASES.get(name, name))
    if found is None:
        raise ValueError(
            f"unknown accelerator {name!r}. {did_you_mean(name, known, and_all=True)} "
            "Others: describe yours in a file and name it with --accelerators FILE.yaml."
        )
    return found


def accelerator_for_device_name(device_name: str) -> str | None:
    """Our name of the device that the driver calls `device_name`; None for a device not in the table."""
    return DRIVER_NAMES.get(device_name)
