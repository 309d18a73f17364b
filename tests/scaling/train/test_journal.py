"""The journal: one row in metrics.jsonl and the same numbers under the same names in TensorBoard."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scaling.records import RunDirectory, read_lines
from scaling.train.journal import Journal


def rows_of(run: RunDirectory) -> list[tuple[int, float]]:
    return [(row["samples_seen"], row["loss"]) for row in read_lines(run.metrics)]


def scalars_of(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    """Name to (samples seen, value), as TensorBoard shows them."""
    events = EventAccumulator(str(run.tensorboard)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_every_number_of_a_row_has_the_same_name_in_tensorboard(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    journal = Journal(run, is_main=True, first_step=0, first_sample=0)
    journal.log({"step": 1, "samples_seen": 8, "loss": 0.5, "goodput_lost": 0.25, "idf_documents": 3})
    journal.log({"samples_seen": 8, "held_out_loss": 1.5})
    journal.close()
    expected = {"loss": 0.5, "goodput_lost": 0.25, "idf_documents": 3.0, "held_out_loss": 1.5}
    assert scalars_of(run) == {name: [(8, value)] for name, value in expected.items()}
    assert [set(row) - {"step", "samples_seen"} for row in read_lines(run.metrics)] == [
        {"loss", "goodput_lost", "idf_documents"},
        {"held_out_loss"},
    ]


def test_going_back_forgets_rows_that_will_be_written_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    journal = Journal(run, is_main=True, first_step=0, first_sample=0)
    for step in (1, 2, 3):
        journal.log({"step": step, "samples_seen": 8 * step, "loss": float(step)})
    journal.go_back(first_step=1, first_sample=8)
    journal.log({"step": 2, "samples_seen": 16, "loss": 20.0})
    journal.close()
    assert rows_of(run) == [(8, 1.0), (16, 20.0)] == scalars_of(run)["loss"]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    journal = Journal(run, is_main=False, first_step=0, first_sample=0)
    journal.log({"step": 1, "samples_seen": 8, "loss": 0.5})
    journal.go_back(first_step=0, first_sample=0)
    journal.close()
    assert not list(tmp_path.iterdir())
