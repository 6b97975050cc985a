"""What the page tells in plain text: what went wrong, what is missing, and how it was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from results.proof.parting import sentence
from results.record import NOT_STARTED, Say, compiled_kind, phase_label
from results.report.panels import label
from results.statistics import GROUP
from results.tables import resources

ASKED = ("threads_asked", "precision_asked")

MOST_SETTINGS = 6
"""Versions, machines or devices that are told in one line."""

LOG_CHARACTERS = 3000
"""Of the end of a failed run's log."""


@dataclass(frozen=True)
class Table:
    """A small table of facts."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def log_path(folder: Path, name: str) -> Path | None:
    """The file of a log in a results folder, None if it is not there: a store from elsewhere may name any file."""
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve() / "logs") and path.is_file() else None
    except (OSError, ValueError):  # a name that cannot be one of a file
        return None


def problems(bad: pd.DataFrame, folder: Path) -> Iterator[dict[str, str]]:
    """Where, when and why each run went wrong, with the end of its log."""
    for _, run in bad.iterrows():
        log = log_path(folder, run["log"])
        tail = log.read_text("utf-8", errors="replace")[-LOG_CHARACTERS:].strip() if log else ""
        texts = {name: str(run[name]) for name in ("run", "status", "reason", "failed_rung")}
        texts["phase"] = "" if run["phase"] == NOT_STARTED else phase_label(run["phase"])
        yield {**texts, "where": f"{run['backend']} {run['mode']}, {label(run)}, round {run['round']}", "log": tail}


def missing(runs: pd.DataFrame, say: Say = str) -> list[str]:
    """Cells of a session that have no row, although their mode and their experiment have rows."""
    found = []
    for session, own in runs.groupby("session", sort=False):
        groups = own[["sweep_point", "backend", "mode", *GROUP]].drop_duplicates().groupby(GROUP, sort=False)
        there = {label(group.iloc[0]): set(zip(group["backend"], group["mode"], strict=True)) for _, group in groups}
        for backend, mode in own[["backend", "mode"]].drop_duplicates().itertuples(index=False, name=None):
            for name, cells in there.items():
                if (backend, mode) not in cells:
                    pattern = say("{backend} {mode}, {name}: no run in session {session}")
                    found.append(pattern.format(backend=backend, mode=mode, name=name, session=session))
    return found


def subnormal(runs: pd.DataFrame, say: Say = str) -> list[str]:
    """A sentence for each comparison that ends with subnormal weights: who makes 0 of them, and who keeps them."""
    found = []
    kinds = {True: say("{cells} made 0 of such numbers"), False: say("{cells} kept them")}
    pattern = say(
        "{label}: after the last epoch, up to {number} of {all} weights are subnormal, which is not 0 but smaller than "
        "float32's smallest normal number, 1.2e-38. {told}; both are float32, and count as the same work."
    )
    for _, own in runs.groupby("panel"):
        most = own["subnormal_weights"].astype(float).max()
        if most > 0:
            flushing = own["settings"].map(lambda settings: settings.get("flushes_subnormals"))
            told = [
                kind.format(cells=", ".join(dict.fromkeys(own["cell"][flushing.eq(value)])))
                for value, kind in kinds.items()
                if flushing.eq(value).any()
            ]
            numbers = {"number": f"{most:,.0f}", "all": f"{own['parameters'].max():,}"}
            found.append(pattern.format(label=label(own.iloc[0], say), told="; ".join(told), **numbers))
    return found


def setting(runs: pd.DataFrame, say: Say = str) -> str:
    """What was compared on what, in one line: versions, machine, device, threads, precision, date."""
    frameworks = [" ".join(text.split()[:2]).split("+")[0] for text in dict.fromkeys(runs["framework"]) if text]
    machines = dict.fromkeys(
        f"{machine.get('cpu', '')}, {machine.get('cores', '?')} " + say("cores") for machine in runs["machine"]
    )
    firsts = runs.drop_duplicates(GROUP).to_dict("records")
    places = dict.fromkeys(f"{row['device']}, {resources(row, say)}, {row['precision_asked']}" for row in firsts)
    dates = dict.fromkeys(text[:10] for text in runs["started"] if text)
    parts = (frameworks, machines, places, dates)
    return "; ".join(", ".join(_few(list(part))) for part in parts if part)


def _few(texts: list[str]) -> list[str]:
    return texts if len(texts) <= MOST_SETTINGS else [*texts[:MOST_SETTINGS], "..."]


def facts(runs: pd.DataFrame) -> list[Table]:
    """Machine, versions, settings, sessions and hashes."""
    machines = {json.dumps(machine, sort_keys=True): machine for machine in runs["machine"]}
    versions = runs[runs["framework"] != ""].drop_duplicates(["backend", "framework"])
    sessions = runs.groupby("session", sort=False)
    hashes = runs.drop_duplicates(GROUP)
    return [
        *(
            Table("Machine", ("fact", "value"), [(name, _fact(value)) for name, value in machine.items()])
            for machine in machines.values()
        ),
        Table("Frameworks", ("backend", "versions"), versions[["backend", "framework"]].to_numpy().tolist()),
        Table("What is compiled: like with like", ("backend and mode", "compiled", "its likes"), _compiled(runs)),
        *_partings(runs),
        Table("Settings", ("backend and mode", "in force"), _settings(runs)),
        Table(
            "Sessions",
            ("session", "runs", "rounds", "threads asked", "precision asked", "lockstep"),
            [
                (str(name), str(len(own)), str(own["round"].max()), *_values(own, *ASKED, "lockstep"))
                for name, own in sessions
            ],
        ),
        Table(
            "Hashes (SHA-256)",
            ("experiment", "of the experiment", "of the data", "of the batches"),
            [
                (
                    f"{row['experiment']} {row['sweep_point']}",
                    row["experiment_hash"],
                    row["data_hash"],
                    row["batches_hash"],
                )
                for _, row in hashes.iterrows()
            ],
        ),
        Table(
            "Backend files (SHA-256)",
            ("backend", "hash"),
            runs[["backend", "backend_hash"]].drop_duplicates().to_numpy().tolist(),
        ),
    ]


def _compiled(runs: pd.DataFrame) -> list[tuple[str, str, str]]:
    """What each mode compiles, and the modes of all backends that compile as much of training as it does."""
    modes = runs.dropna(subset="compiled").drop_duplicates(["backend", "mode"])
    kinds = modes["compiled"].map(compiled_kind)
    return [
        (
            cell,
            f"{kind}: {parts}" if parts else kind,
            ", ".join(name for name in modes["cell"][kinds == kind] if name != cell),
        )
        for cell, kind, parts in zip(modes["cell"], kinds, modes["compiled"], strict=True)
    ]


def _partings(runs: pd.DataFrame) -> list[Table]:
    """What parted the curves that part from the reference's, each as often as it was found; none if none part."""
    parted = runs[runs["parting"].map(bool)]
    if parted.empty:
        return []
    found = parted["parting"].map(sentence)
    where = parted["cell"] + ", " + parted.apply(label, axis=1)
    rows = pd.DataFrame({"where": where, "what": found}).drop_duplicates().to_numpy().tolist()
    return [Table("Where curves part, within what rounding explains", ("backend and mode", "what parted them"), rows)]


def _settings(runs: pd.DataFrame) -> list[tuple[str, str]]:
    firsts = runs[runs["settings"].map(bool)].drop_duplicates(["backend", "mode"])
    return [
        (
            f"{run['backend']} {run['mode']}",
            ", ".join(f"{name}: {_fact(value)}" for name, value in run["settings"].items()),
        )
        for _, run in firsts.iterrows()
    ]


def _values(own: pd.DataFrame, *columns: str) -> list[str]:
    return [", ".join(str(value) for value in dict.fromkeys(own[name])) for name in columns]


def _fact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def experiments(runs: pd.DataFrame) -> list[dict[str, str]]:
    """Each experiment as a file that can be run again."""
    firsts = runs.drop_duplicates("experiment_hash")
    return [
        {
            "label": f"{run['experiment']} {run['sweep_point']}".strip(),
            "toml": tomli_w.dumps(_without_nulls(json.loads(run["experiment_json"] or "{}"))),
        }
        for _, run in firsts.iterrows()
    ]


def _without_nulls(value: Any) -> Any:
    """TOML has no null: what is not set is left out."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
