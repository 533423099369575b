"""Begin and continue runs: from a data set's path to a run folder with the trained model."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import Strategy
from tqdm import tqdm

from tlaam.config.defaults import resolve, resolve_machine
from tlaam.config.schema import Config
from tlaam.config.sections import MACHINE_OPTIONS, TrainingConfig
from tlaam.data.check import find_unreadable
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.split import with_test, with_validation
from tlaam.errors import ConfigError, DataError, ModelError, RunError, TlaamError
from tlaam.inference.store import require_intact, save_model
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import probe_shape
from tlaam.models.build import build_model
from tlaam.models.localizers.base import Localizer
from tlaam.runs.data import opened_again, reopenable
from tlaam.runs.environment import versions
from tlaam.runs.folder import RunFolder
from tlaam.runs.history import total_seconds
from tlaam.training import sharding
from tlaam.training.batch_size import largest_batch
from tlaam.training.checkpoint import Checkpoints
from tlaam.training.dataset import training_images
from tlaam.training.header import header
from tlaam.training.input_cache import InputCache
from tlaam.training.loading import lost_loaders_named
from tlaam.training.loop import Diverged, fit, resume_command
from tlaam.training.masks import read_pseudo_masks
from tlaam.training.memory import peak_memory
from tlaam.training.pseudo_masks import write_pseudo_masks
from tlaam.training.seeds import derive
from tlaam.training.workers import needed_workers
from tlaam.utils.atomic import full_disk_named, remove_leftovers, write_json
from tlaam.utils.yaml_file import read_yaml

LOOKED_AT = 50_000
"""Images above which a run begins without decoding each of them once: minutes for so many, hours for a million."""
_NAMED = 3
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Plan:
    """What every device needs to know before it can start."""

    images: LabelledImages
    config: Config
    source_fingerprint: str = ""
    checkpoint: dict[str, Any] | None = None


def train(
    source: str | Path | LabelledImages,
    out: str | Path | None = None,
    config: Config | Mapping[str, Any] | None = None,
    *,
    test_fraction: float = 0.0,
    progress: bool = True,
) -> Path:
    """Train a model on a data set and return the run folder.

    The images of a test split that the data brings are never opened (but by ``select_on=test``). Splits are cut from
    what can be read.

    Args:
        source: what `tlaam.data.open.open_dataset` understands, or an opened data set.
        out: a new or empty folder; by itself ``runs/<name of the data>``, numbered where that is taken.
        config: settings, or a mapping of them such as ``{"epochs": 12}``; those left None are chosen by
            `tlaam.config.defaults.resolve`.
        test_fraction: share of the training images to set apart for testing where the data has no test split.
        progress: report on standard error.

    Raises:
        ConfigError: a setting does not fit.
        DataError: the data cannot be used, or holds unreadable images and `skip_unreadable` is off.
        ModelError: the network or its weights cannot be had.
        RunError: `out` holds something already, the loss is not finite, or the disk is full.
    """
    given = resolve_machine(_settings(config))
    fabric = _launched(given)

    def prepare() -> tuple[_Plan, Path, list[dict[str, str]]]:
        if out is not None:
            RunFolder(Path(out)).require_new()  # said now, before every image is read and the network is built
        images = source if isinstance(source, LabelledImages) else open_dataset(source)
        opened = images.fingerprint()
        if not images.split("train"):
            raise DataError(f"{images.root} holds no training images.")
        images, skipped = _readable(images, given.training.skip_unreadable, progress)
        images = _with_splits(images, given, test_fraction)
        if given.training.select_on == "test" and not images.split("test"):
            raise DataError(f"{images.root} has no test split that select_on=test could choose the epoch on.")
        path = Path(out) if out is not None else _free_folder(images.name)
        return _Plan(images, resolve(given, images), opened), path, skipped

    with _random_state_kept(), ExitStack() as stack:
        plan, path, skipped = _on_first(fabric, prepare)
        folder = RunFolder(path)
        model = _model(plan)
        if plan.config.training.batch_size is None:
            classes, count = len(plan.images.classes), len(plan.images.split("train"))
            found = largest_batch(fabric, model, plan.config, classes, count)
            plan = replace(plan, config=plan.config.with_options(batch_size=found))
        if plan.config.training.workers is None:
            loaded = training_images(plan.images.split("train"), plan.config)
            found = needed_workers(fabric, model, plan.config, len(plan.images.classes), loaded)
            plan = replace(plan, config=plan.config.with_options(workers=found))

        def begin() -> None:
            stack.enter_context(folder.created())
            facts = {
                "source": reopenable(source, plan.images),
                **_facts(plan.images),
                "source_fingerprint": plan.source_fingerprint,
                "test_fraction": test_fraction,
                "val_fraction": plan.config.training.val_fraction,
                "seed": plan.config.training.seed,
            }
            with full_disk_named(folder.path, "begin again."):
                write_json(folder.data, facts)
                if skipped:
                    write_json(folder.skipped, {"skipped": skipped})
                folder.note_status(state="running", begun=_now(), command=shlex.join(sys.argv), versions=versions())
                folder.write_config(plan.config)

        _on_first(fabric, begin)
        _fit_and_store(fabric, model, plan, folder, progress)
    return path


def resume(
    run: str | Path, *, source: LabelledImages | None = None, progress: bool = True, **machine: str | int | None
) -> Path:
    """Continue a run from its newest good checkpoint and return its folder; a finished run is left as it is.

    Where a finished run's model is damaged, it is written anew from the newest checkpoint.

    Args:
        run: the run folder.
        source: the data set, where it cannot be opened again from where it lay.
        progress: report on standard error.
        machine: replacements for `tlaam.config.sections.MACHINE_OPTIONS`; None keeps the run's own.

    Raises:
        ConfigError: another option is given.
        DataError: the data can no longer be read.
        RunError: the folder holds no run, is in use, or was begun with other data or on another number of devices.
    """
    changes = {name: value for name, value in machine.items() if value is not None}
    for name in changes:
        if name not in MACHINE_OPTIONS:
            raise ConfigError(
                f"option '{name}' cannot change within a run; --resume accepts {', '.join(MACHINE_OPTIONS)}. "
                "Begin a new run instead."
            )
    folder = RunFolder(Path(run))
    folder.require_run()
    begun = _begun_with(folder)
    config = resolve_machine(begun.with_options(**changes))
    before, now = _named_devices(begun.training), _named_devices(config.training)
    if before is not None and now is not None:
        _require_same_devices(before, now)  # said now, before processes are started for them
    status = folder.read_json(folder.status)
    if status.get("state") == "finished":
        try:
            require_intact(folder.path)
        except ModelError as error:
            _say(f"{error} It is written anew from the newest checkpoint.", progress)
        else:
            _say(f"{folder.path} has finished already; nothing to do.", progress)
            return folder.path
    fabric = _launched(config)

    def prepare() -> _Plan:
        stack.enter_context(folder.locked())
        remove_leftovers(folder.path)
        if status.get("state") == "failed":
            _say(f"This run failed before ({status.get('reason')}) and may well do so again.", progress)
        images = _reopened(folder, source, config)
        checkpoints = Checkpoints(folder.checkpoints)
        found = checkpoints.newest()
        for complaint in found.complaints:
            _say(complaint, progress)
        if found.state is None:
            checkpoints.drop_best_after(None)
            _say("No checkpoint yet; the run starts from its first step.", progress)
        else:
            _require_same_run(folder, found.state, images, config, fabric.world_size)
            _settle_best(checkpoints, found.state, config, progress)
            _say(f"Continuing after step {found.state['step']}.", progress)
            _compare_versions(found.state["identity"]["versions"], progress)
        folder.note_status(state="running", reason=None)
        return _Plan(images, config, checkpoint=found.state)

    with _random_state_kept(), ExitStack() as stack:
        plan = _on_first(fabric, prepare)
        _fit_and_store(fabric, _model(plan), plan, folder, progress)
    return folder.path


def _fit_and_store(fabric: Fabric, model: Architecture, plan: _Plan, folder: RunFolder, progress: bool) -> None:
    images = plan.images
    identity = {"fingerprint": images.fingerprint(), "versions": versions(), "settings": _deciding(plan.config)}
    train_samples, val_samples = images.split("train"), images.split(plan.config.training.select_on)
    if fabric.is_global_zero:
        for line in header(images, plan.config, resumed=plan.checkpoint is not None):
            _say(line, progress)

    def mark_foreground() -> None:
        began = time.monotonic()
        again = f"continue with: {resume_command(folder)}"
        with lost_loaders_named(folder.path), full_disk_named(folder.path, again):
            write_pseudo_masks(fabric, model, train_samples, plan.config, folder.pseudo_masks, progress=progress)
        folder.note_status(pseudo_mask_seconds=round(time.monotonic() - began, 1))

    if plan.config.training.cache is not None:
        cache = InputCache(plan.config.training.cache, plan.config.model.source_size or 0)
        _on_first(fabric, lambda: _fill(cache, [*train_samples, *val_samples], progress))
    masks = None
    if _learns_foreground(model):
        # Before the first step the weights are the pretrained ones, and only then can masks be made.
        if plan.checkpoint is None and not folder.pseudo_masks.exists():
            _on_first(fabric, mark_foreground)
        masks = read_pseudo_masks(folder.pseudo_masks, train_samples)
    try:
        history = fit(
            fabric,
            model,
            train_samples,
            val_samples,
            plan.config,
            folder,
            identity,
            masks=masks,
            checkpoint=plan.checkpoint,
            progress=progress,
        )
    except Diverged as error:
        if fabric.is_global_zero:
            folder.note_status(state="failed", reason=error.reason)
        raise
    finally:  # a run that was stopped may have needed more than what is left to do will
        if fabric.is_global_zero:
            with suppress(OSError, TlaamError):  # what ended the run is to be said, not this
                _note_memory(folder, fabric)

    def finish() -> None:
        with full_disk_named(folder.path, f"continue with: {resume_command(folder)}"):
            save_model(folder.path, model, plan.config.model, images.classes)
            folder.note_status(state="finished", finished=_now(), seconds=round(total_seconds(history), 1))

    _on_first(fabric, finish)


def _fill(cache: InputCache, samples: Sequence[Sample], progress: bool) -> None:
    with tqdm(desc="caching images", file=sys.stderr, leave=False, disable=None if progress else True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        cache.fill(samples, progress=show)


def _note_memory(folder: RunFolder, fabric: Fabric) -> None:
    """Note the most memory that the first process has needed, in this or an earlier session."""
    peak = peak_memory(fabric.device)
    if peak is not None:
        folder.note_status(memory_bytes=max(peak, folder.read_json(folder.status).get("memory_bytes", 0)))


def _strategy(config: Config) -> str | Strategy:
    """Return Lightning's strategy; networks that learn in turns leave parameters without a gradient in some epochs."""
    strategy, devices = config.training.strategy, config.training.devices
    if strategy == sharding.STRATEGY:
        return sharding.strategy()
    alone = devices == "1" and config.training.nodes == 1
    if config.model.architecture == "tlaam" or alone or strategy not in ("auto", "ddp"):
        return strategy
    return "ddp_find_unused_parameters_true"


def _launched(config: Config) -> Fabric:
    training = config.training
    if training.strategy != sharding.STRATEGY and any(name in training.strategy for name in ("fsdp", "deepspeed")):
        raise ConfigError(f"strategy = {training.strategy!r} is not known here; use auto, ddp or {sharding.STRATEGY}.")
    try:
        fabric = Fabric(
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.nodes,
            strategy=_strategy(config),
            precision=training.precision,
        )
        fabric.launch()
    except (ValueError, TypeError, RuntimeError) as error:  # Lightning's exceptions for a misconfiguration are these
        raise ConfigError(
            f"accelerator {training.accelerator!r}, devices {training.devices!r}, nodes {training.nodes}, strategy "
            f"{training.strategy!r}, precision {training.precision!r} cannot be had: {' '.join(str(error).split())}"
        ) from error
    return fabric


def _begun_with(folder: RunFolder) -> Config:
    """Return a run's settings; one that lacks some was begun by a version that computed something else."""
    config = Config.from_yaml(folder.config)
    written = read_yaml(folder.config)
    for section, options in config.to_nested().items():
        missing = [name for name in options if name not in written.get(section, {})]
        if missing:
            raise RunError(
                f"{folder.path} was begun by an earlier version, which had no {', '.join(missing)}; begin a new run."
            )
    return config


def _on_first(fabric: Fabric, work: Callable[[], _T]) -> _T:
    """Do something on the first device and give the result to all; its error ends them all, said once."""
    result: _T | None = None
    error: TlaamError | None = None
    if fabric.is_global_zero:
        try:
            result = work()
        except TlaamError as caught:
            error = caught
    failed, result = fabric.broadcast((error is not None, result))
    if error is not None:
        raise error
    if failed:
        raise SystemExit(1)
    return result


def _model(plan: _Plan) -> Architecture:
    torch.manual_seed(derive(plan.config.training.seed, "weights"))
    model = build_model(plan.config.model, len(plan.images.classes), load_pretrained=plan.checkpoint is None)
    if plan.checkpoint is None and _learns_foreground(model):
        try:
            probe_shape(model.backbone, plan.config.training.pseudo_mask_size)
        except ModelError as error:  # said before every image is looked at
            raise ModelError(
                f"{error} Pseudo masks are made at that size: give another pseudo_mask_size, or localizer=oaam."
            ) from error
    return model


def _learns_foreground(model: Architecture) -> bool:
    """Return whether a localiser learns, and so needs pseudo masks."""
    localizer = getattr(model, "localizer", None)
    return isinstance(localizer, Localizer) and localizer.learns


def _settings(config: Config | Mapping[str, Any] | None) -> Config:
    if config is None:
        return Config()
    if isinstance(config, Mapping):
        return Config.from_nested(config)
    if not isinstance(config, Config):
        raise ConfigError(
            f"config is a {type(config).__name__}; it must be a Config or a mapping of options, for example "
            "{'epochs': 12}."
        )
    return config


def _with_splits(images: LabelledImages, config: Config, test_fraction: float) -> LabelledImages:
    seed = config.training.seed
    return with_validation(with_test(images, test_fraction, seed), config.training.val_fraction, seed)


def _readable(images: LabelledImages, skip: bool, progress: bool) -> tuple[LabelledImages, list[dict[str, str]]]:
    """Return the data set without its unreadable images (the test split is not looked at), and what was left out."""
    used = images.with_samples([sample for sample in images.samples if sample.split != "test"])
    if len(used.samples) > LOOKED_AT and not skip:
        _say(
            f"{len(used.samples):,} images are too many to look at each beforehand; the first that cannot be read will "
            "end the run. `tlaam check` finds them all, --skip-unreadable looks for them now.",
            progress,
        )
        return images, []
    with tqdm(
        total=len(used.samples),
        desc="reading every image once",
        unit="image",
        file=sys.stderr,
        leave=False,
        disable=None if progress else True,  # None: where standard error is no terminal
    ) as bar:
        faults = find_unreadable(used, progress=lambda done, total: bar.update())
    if not faults:
        return images, []
    named = ", ".join(sample.name for sample, _ in faults[:_NAMED])
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    if not skip:
        raise DataError(
            f"{len(faults)} image(s) of {images.root} cannot be read ({named}{more}): mend or remove them (`tlaam "
            "check` says what is wrong with each), or train without them by --skip-unreadable."
        )
    _say(f"Left out {len(faults)} unreadable image(s), listed in skipped.json: {named}{more}.", progress)
    skipped = [{"name": sample.name, "fault": fault} for sample, fault in faults]
    return _without(images, [entry["name"] for entry in skipped]), skipped


def _without(images: LabelledImages, names: Sequence[str]) -> LabelledImages:
    left_out = set(names)
    kept: list[Sample] = [sample for sample in images.samples if sample.name not in left_out]
    empty = {sample.label for sample in images.split("train")} - {s.label for s in kept if s.split == "train"}
    if empty:
        names = [images.classes[label] for label in sorted(empty)][:_NAMED]
        raise DataError(f"Without the unreadable images there is nothing left to train on of: {', '.join(names)}.")
    return images.with_samples(kept)


def _reopened(folder: RunFolder, source: LabelledImages | None, config: Config) -> LabelledImages:
    facts = folder.read_json(folder.data)
    images = source if source is not None else _at_its_place(folder, facts)
    if folder.skipped.exists():
        images = _without(images, [entry["name"] for entry in folder.read_json(folder.skipped)["skipped"]])
    images = _with_splits(images, config, facts["test_fraction"])
    if images.fingerprint() != facts["fingerprint"]:
        raise RunError(
            f"{folder.path} is a run of another data set: {facts['source']} has changed since it was begun "
            f"({facts['images']} images then, {_facts(images)['images']} now)."
        )
    return images


def _at_its_place(folder: RunFolder, facts: Mapping[str, Any]) -> LabelledImages:
    try:
        return opened_again(facts)
    except DataError as error:
        raise RunError(
            f"The data of this run was at {facts['source']} and cannot be opened there: {str(error).rstrip('.')}. "
            f"`{resume_command(folder)}` needs it there; from another place, NEW, it continues in Python: "
            f"tlaam.resume({str(folder.path)!r}, source=tlaam.open_dataset(NEW))."
        ) from error


def _facts(images: LabelledImages) -> dict[str, Any]:
    return {
        "name": images.name,
        "kind": images.kind,
        "root": str(images.root.resolve()),
        "fingerprint": images.fingerprint(),
        "classes": len(images.classes),
        "images": {name: len(images.split(name)) for name in ("train", "val", "test")},
        "val": [sample.name for sample in images.split("val")],
    }


def _require_same_run(
    folder: RunFolder, state: dict[str, Any], images: LabelledImages, config: Config, world_size: int
) -> None:
    if state["identity"]["fingerprint"] != images.fingerprint():  # it covers the class names
        raise RunError(
            f"The newest checkpoint in {folder.checkpoints} is of a run on other data; remove it, or begin a new run."
        )
    _require_same_devices(state["world_size"], world_size)
    before, now = state["identity"].get("settings", {}), _deciding(config)
    changed = [f"{name} {now.get(name)!r} instead of {old!r}" for name, old in before.items() if now.get(name) != old]
    if changed:
        raise RunError(
            f"{folder.config} is damaged or was altered since the run began: it says {', '.join(changed[:_NAMED])}. "
            "Put that back, or begin a new run."
        )


def _deciding(config: Config) -> dict[str, Any]:
    """Return the settings that decide what a run comes to, as plain values."""
    flat = {name: value for section in config.to_nested().values() for name, value in section.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat))
    return {name: value for name, value in plain.items() if name not in (*MACHINE_OPTIONS, "checkpoint_every")}


def _named_devices(training: TrainingConfig) -> int | None:
    """Return how many devices the settings ask for on all machines; None where only Lightning knows."""
    named = [name for name in training.devices.split(",") if name.strip()]
    if "," in training.devices:
        return len(named) * training.nodes
    return int(training.devices) * training.nodes if training.devices.isdecimal() else None


def _require_same_devices(before: int, now: int) -> None:
    if now != before:
        raise RunError(
            f"The run was begun on {before} device(s), not {now}; its batches can only be continued on as many."
        )


def _settle_best(checkpoints: Checkpoints, state: dict[str, Any], config: Config, progress: bool) -> None:
    """Let the best weights on disk be those of the checkpoint, not of epochs that are still to be run again."""
    if config.training.keep != "best":
        return
    checkpoints.drop_best_after(state["best_epoch"])
    lost = False
    while (epoch := state["best_epoch"]) is not None:
        try:
            checkpoints.load_best(epoch)
            break
        except RunError as error:
            lost = True
            _say(str(error), progress)
            best_before = (
                e for e, row in enumerate(state["history"][:epoch]) if row["best"] and checkpoints.has_best(e)
            )
            state["best_epoch"] = max(best_before, default=None)
    if lost and epoch is not None:
        _say(f"The weights of epoch {epoch + 1}, the best before it, are kept unless a better epoch comes.", progress)
    elif lost:
        _say("The best epoch from here on is kept, or else the last.", progress)


def _free_folder(name: str) -> Path:
    first = Path("runs") / name
    path, number = first, 1
    while path.exists():
        number += 1
        path = first.with_name(f"{name}-{number}")
    return path


def _compare_versions(before: dict[str, str], progress: bool) -> None:
    now = versions()
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        _say(
            f"Versions changed since the checkpoint, so results may differ by rounding: {', '.join(changed)}.", progress
        )


@contextmanager
def _random_state_kept() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _say(message: str, progress: bool) -> None:
    if progress:
        tqdm.write(message, file=sys.stderr)
