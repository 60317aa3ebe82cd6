"""Fixtures of the contract suite: each system, what the systems read, and one finished run of each."""

from pathlib import Path

import pytest
from systems import SYSTEMS, Inputs, System


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs.make(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session", params=SYSTEMS, ids=lambda system: system.name)
def system(request: pytest.FixtureRequest) -> System:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def finished(system: System, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of six steps that went through; tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    system.begin(system.make(folder, (), inputs), None, inputs)
    return folder
