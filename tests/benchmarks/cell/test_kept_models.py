"""A kept model comes back as it was, or not at all: whatever is in the file, nothing runs and one line says why."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from benchmarks.cell import kept_models
from benchmarks.cell.kept_models import KeptModel, find_model, load_model, model_file, save_model, sha256
from benchmarks.errors import InputError
from benchmarks.spec import experiment as experiments
from benchmarks.spec.initial import initial_parameters
from results.record import Run
from results.store import Store


def make_model(name: str = "digits-mlp") -> KeptModel:
    experiment = experiments.load(experiments.find(name))
    parameters = initial_parameters(experiment.model, np.random.default_rng(1))
    classes = () if experiment.data.is_regression else tuple("0123456789")
    return KeptModel("r-0001", name, 3, "pytorch eager", experiment, classes, parameters)


def metadata_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "linear-regression"])
def test_a_model_comes_back_to_the_bit(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    save_model(model, tmp_path / "models" / "a.safetensors")
    back = load_model(tmp_path / "models" / "a.safetensors")
    assert replace(back, parameters={}) == replace(model, parameters={})
    for key, values in model.parameters.items():
        np.testing.assert_array_equal(back.parameters[key], values)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["a.safetensors"], "nothing else is left"


@pytest.mark.parametrize(
    "lie",
    [
        np.asfortranarray,
        lambda values: np.ascontiguousarray(values.T).T,
        lambda values: np.ascontiguousarray(values[::-1])[::-1],
        lambda values: np.repeat(values, 2, axis=0)[::2],
        lambda values: values.astype(">f4"),
    ],
    ids=["Fortran", "transposed view", "reversed view", "view of every second", "big-endian"],
)
def test_a_model_comes_back_however_its_arrays_lie_in_memory(lie, tmp_path: Path) -> None:
    model = make_model("digits-cnn")
    lying = {name: lie(values) for name, values in model.parameters.items()}
    save_model(replace(model, parameters=lying), tmp_path / "a.safetensors")
    back = load_model(tmp_path / "a.safetensors")
    for key, values in model.parameters.items():
        np.testing.assert_array_equal(back.parameters[key], values)


def test_a_model_counts_as_kept_only_if_it_can_be_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(parameters, metadata) -> bytes:
        return save({name: values + 1 for name, values in parameters.items()}, metadata)

    monkeypatch.setattr(kept_models, "save", wrong)
    with pytest.raises(OSError, match="not those that were kept"):
        save_model(make_model(), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_models, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(make_model(), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused(tmp_path: Path, position: float, flip: int, cut: bool) -> None:
    path = tmp_path / "a.safetensors"
    save_model(make_model("linear-regression"), path)
    content = bytearray(path.read_bytes())
    place = int(position * len(content))
    content[place:] = b"" if cut else bytes([content[place] ^ flip]) + content[place + 1 :]
    path.write_bytes(content)
    good = make_model("linear-regression").parameters
    with suppress(InputError):
        # Only what has no hash may have changed if the file is accepted: a name in the metadata.
        assert load_model(path).parameters["0.weight"].tobytes() == good["0.weight"].tobytes()


class _Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("hostile-was-here"),))


def test_foreign_and_hostile_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.safetensors"

    def refused(*expected: str) -> None:
        with pytest.raises(InputError) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)
        for text in (str(path), *expected):
            assert text in str(caught.value)

    path.write_bytes(pickle.dumps(_Hostile()))
    refused("no safetensors file")
    assert not (tmp_path / "hostile-was-here").exists()
    path.write_bytes(b"")
    refused("no safetensors file")
    save_file({"layer.weight": np.zeros(3, np.float32)}, path)
    refused("not kept by lockstep", "--keep-models")
    model = make_model()
    save_model(model, path)
    good = metadata_of(path)
    for changes, expected in [
        ({"lockstep_model": "9"}, "format '9'"),
        ({"run": "a\nb"}, "'run'"),
        ({"trained_by": "\x1b[2J"}, "'trained_by'"),
        ({"classes": '["cat", "\\u001b[2J"]'}, "'classes'"),
        ({"classes": '["cat"]'}, "list of 10"),
        ({"classes": "[" * 100_000}, "metadata"),
        ({"epoch": "1e9"}, "metadata"),
        ({"experiment": '{"layers": []}'}, "metadata"),
        ({"experiment": good["experiment"].replace('"outputs": 64', '"outputs": 65536')}, "1.bias"),
        ({"weights_hash": "0" * 64}, "damaged or was changed"),
    ]:
        save_file(model.parameters, path, {**good, **changes})
        refused(expected)
    save_file({**model.parameters, "1.bias": np.zeros(64)}, path, good)
    refused("1.bias", "F64", "F32")
    save_file({**model.parameters, "extra": np.zeros(1, np.float32)}, path, good)
    refused("extra", "absent")


def test_a_file_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.truncate(kept_models.LARGEST_FILE + 1)
    with pytest.raises(InputError, match="bytes are more than any model has"):
        load_model(path)


def test_a_model_is_found_by_its_run_and_only_as_it_was_kept(tmp_path: Path) -> None:
    store, models = Store(tmp_path), {}
    for which, epoch in (("best", 2), ("last", 3)):
        path = tmp_path / "models" / model_file("r-0001", which)
        save_model(replace(make_model(), epoch=epoch), path)
        models[which] = {"file": f"models/{path.name}", "epoch": epoch, "sha256": sha256(path)}
    store.append(Run("r-0001", "r", "digits-mlp", "pytorch", "eager", "cpu", 1, 1, models=models))
    store.append(Run("r-0002", "r", "digits-mlp", "pytorch", "eager", "cpu", 1, 1, models={"last": models["last"]}))
    assert [find_model(text, tmp_path).epoch for text in ("r-0001", "r-0001:best", "r-0001:last")] == [2, 2, 3]
    with pytest.raises(InputError, match="no 'first' model; there is best and last"):
        find_model("r-0001:first", tmp_path)
    with pytest.raises(InputError, match="No such file"):
        find_model("r-0002", tmp_path)
    last = tmp_path / "models" / model_file("r-0001", "last")
    save_model(replace(make_model(), epoch=9), last)
    with pytest.raises(InputError, match="is not the file that run r-0001 kept"):
        find_model("r-0001:last", tmp_path)


def test_the_name_of_a_run_never_leaves_the_folder() -> None:
    assert "/" not in model_file("../../etc/passwd", "best")
