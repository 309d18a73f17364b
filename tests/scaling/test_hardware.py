"""Accelerators: a table with sources, and a user's own from a file of which every field is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling.hardware import ACCELERATORS, DRIVER_NAMES, accelerator, accelerator_for_device_name
from scaling.planning.accelerator_file import load_accelerators

WRITTEN = {
    "peak_bf16_tflops": "400",
    "peak_fp32_tflops": "50",
    "memory_gigabytes": "96",
    "memory_gigabytes_per_second": "3000",
    "link_gigabytes_per_second": "100",
    "source": "data sheet",
}


def written(tmp_path: Path, name: str = "mine", **fields: str | None) -> Path:
    entry = {key: value for key, value in {**WRITTEN, **fields}.items() if value is not None}
    path = tmp_path / "devices.yaml"
    path.write_text(f"{name}:\n" + "".join(f"  {key}: {value}\n" for key, value in entry.items()))
    return path


def test_an_unknown_accelerator_names_the_nearest_and_all_known() -> None:
    with pytest.raises(ValueError, match="unknown accelerator 'h100'. Did you mean 'h100_") as caught:
        accelerator("h100")
    assert all(name in str(caught.value) for name in ACCELERATORS)


def test_h200_is_the_one_of_its_family_in_the_table() -> None:
    assert accelerator("h200") is ACCELERATORS["h200_sxm"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none.yaml: cannot be read .No such file or directory."):
        load_accelerators(tmp_path / "none.yaml")


def test_every_accelerator_states_a_dense_peak_a_memory_a_link_and_a_source() -> None:
    for name, device in ACCELERATORS.items():
        assert device.name == name
        assert device.peak_bf16_flops > device.peak_fp32_flops > 0
        assert device.memory_bytes > 1e9 and device.link_bytes_per_second > 1e9
        assert device.source
    assert ACCELERATORS["h100_sxm"].peak_bf16_flops == pytest.approx(1979e12 / 2, rel=1e-3)


def test_a_device_is_found_by_the_exact_name_of_its_driver_only() -> None:
    assert accelerator_for_device_name("NVIDIA H200") == "h200_sxm"
    assert accelerator_for_device_name("NVIDIA H200 NVL") is None
    assert accelerator_for_device_name("NVIDIA L40") is None
    assert set(DRIVER_NAMES.values()) == ACCELERATORS.keys() - {"cpu_core"}


def test_a_file_adds_accelerators_to_the_table(tmp_path: Path) -> None:
    known = load_accelerators(written(tmp_path, usd_per_hour="1.5"))
    assert known.keys() == {*ACCELERATORS, "mine"}
    mine = accelerator("mine", known)
    assert (mine.peak_bf16_flops, mine.peak_fp32_flops) == (400e12, 50e12)
    assert (mine.memory_bytes, mine.link_bytes_per_second) == (96e9, 100e9)
    assert (mine.source, mine.usd_per_hour) == ("data sheet", 1.5)


@pytest.mark.parametrize("field", WRITTEN)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=f"devices.yaml: mine: {field} is missing"):
        load_accelerators(written(tmp_path, **{field: None}))


@pytest.mark.parametrize("field", sorted(WRITTEN.keys() - {"source"}))
@pytest.mark.parametrize("value", ["0", "-1", ".nan", ".inf", "many", "true", "400.0e+12"])
def test_a_figure_that_is_no_positive_number_in_its_unit_is_refused(
    tmp_path: Path, field: str, value: str
) -> None:
    with pytest.raises(ValueError, match=f"devices.yaml: mine: {field}: "):
        load_accelerators(written(tmp_path, **{field: value}))


def test_a_mistyped_field_names_the_intended_one(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="mine: unknown key 'memory_gigabyte'. Did you mean 'memory_gigabytes'"
    ):
        load_accelerators(written(tmp_path, memory_gigabyte="1"))


def test_a_file_cannot_redefine_an_accelerator_of_the_table(tmp_path: Path) -> None:
    for name in ("h200_sxm", "h200"):
        with pytest.raises(ValueError, match=f"{name} is a name of scaling/hardware.py already"):
            load_accelerators(written(tmp_path, name=name))


@pytest.mark.parametrize("text", ["", "mine: 4", "- mine", "a: [", "a: {b: 1}\na: {c: 1}"])
def test_a_file_of_another_shape_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "devices.yaml").write_text(text)
    with pytest.raises(ValueError, match="devices.yaml: "):
        load_accelerators(tmp_path / "devices.yaml")
    with pytest.raises(ValueError, match="absent.yaml: cannot be read"):
        load_accelerators(tmp_path / "absent.yaml")
