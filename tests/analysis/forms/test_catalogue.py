"""Every form has one name, and a wrong name is told from a right one."""

from __future__ import annotations

import pytest
from form_cases import CEILING

from analysis.forms.catalogue import FORMS, form_named
from analysis.forms.form import Law


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_form_is_called_what_it_is_asked_for_by(name: str) -> None:
    form = form_named(name, ceiling=CEILING)
    assert form.name == name
    assert all(parameter in form.formula for parameter in form.parameters if "repeats" not in parameter)


@pytest.mark.parametrize("name", ["additive_surface", "bounded_surface", "broken_power", "shifted_power"])
def test_without_floor_is_a_form_of_its_own(name: str) -> None:
    form = form_named(f"{name}_without_floor", ceiling=CEILING)
    assert form.name == f"{name}_without_floor" and "floor" not in form.parameters


def test_a_misspelt_form_is_answered_with_the_intended_one() -> None:
    with pytest.raises(ValueError, match="unknown form 'bounded_surfce'. Did you mean 'bounded_surface'"):
        form_named("bounded_surfce", ceiling=CEILING)


def test_a_bounded_form_asks_for_the_error_of_guessing() -> None:
    with pytest.raises(ValueError, match="needs a ceiling: the error of guessing"):
        form_named("bounded_surface")


def test_a_law_names_the_covariate_it_cannot_use() -> None:
    form = form_named("power")
    law = Law(form=form, theta=(0.0, -1.0), references={"train_flops": 1e18})
    with pytest.raises(ValueError, match="train_flops must be positive and finite"):
        law.predict(train_flops=[1e18, -1.0])
    with pytest.raises(ValueError, match="predicts from"):
        law.predict(samples_seen=1e9)
