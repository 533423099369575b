"""Start and resume runs: from the path of a data set to a run folder with the trained model."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from tqdm import tqdm

from tlaam.config.defaults import resolve, resolve_machine
from tlaam.config.schema import Config
from tlaam.config.sections import ACCELERATORS, MACHINE_OPTIONS
from tlaam.data.copies import contradictions
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import ConfigError, DataError, ModelError, RunError, TlaamError
from tlaam.inference.store import load_model, require_intact, save_model, set_aside
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import probe_shape
from tlaam.models.build import build_model
from tlaam.models.localizers.base import Localizer
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM
from tlaam.runs.data import reopenable
from tlaam.runs.environment import commit, versions
from tlaam.runs.folder import RunFolder
from tlaam.runs.history import total_seconds
from tlaam.runs.out_of_fold import write_out_of_fold
from tlaam.runs.taxonomy import keep_taxonomy
from tlaam.taxonomy.files import read_taxonomy
from tlaam.taxonomy.tree import Taxonomy
from tlaam.training.batch_size import largest_batch
from tlaam.training.checkpoint import Checkpoints
from tlaam.training.class_rows import carry_over, rejoin
from tlaam.training.dataset import training_images
from tlaam.training.header import header
from tlaam.training.identity import (
    deciding_settings,
    facts_of,
    free_folder,
    named_devices,
    require_same_devices,
    require_same_run,
    say_other_versions,
    settings_of,
)
from tlaam.training.input_cache import InputCache
from tlaam.training.launch import launched, on_first
from tlaam.training.loading import lost_loaders_named
from tlaam.training.loop import Diverged, fit, resume_command
from tlaam.training.masks import read_pseudo_masks
from tlaam.training.memory import peak_memory
from tlaam.training.probe_first import fit_probe_model, said
from tlaam.training.pseudo_masks import write_masks, write_pseudo_masks
from tlaam.training.saying import say
from tlaam.training.seeds import derive
from tlaam.training.start import Start, read_former
from tlaam.training.trackers import require_tracker
from tlaam.training.usable_data import readable, reopened, with_equal_images, with_found_depth, with_splits
from tlaam.training.workers import needed_workers, spare_cores
from tlaam.utils.atomic import full_disk_named, remove_leftovers, write_json
from tlaam.utils.collector import collector_paused


@dataclass(frozen=True)
class _Plan:
    """What every device needs before it can start."""

    images: LabelledImages
    config: Config
    source_fingerprint: str = ""
    checkpoint: dict[str, Any] | None = None
    start: Start | None = None
    taxonomy: Taxonomy | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's classes: those of the data, then those without images that the starting model contributes."""
        return (*self.images.classes, *(self.start.kept if self.start else ()))


def train(
    source: str | Path | LabelledImages,
    out: str | Path | None = None,
    config: Config | Mapping[str, Any] | None = None,
    *,
    test_fraction: float = 0.0,
    start: str | Path | None = None,
    keep_classes: bool = False,
    taxonomy: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Train a model on a data set and return the run folder.

    If the data has its own test split, its images are never opened (except with ``select_on=test``). Splits are cut
    from the readable images.

    Args:
        source: anything that `tlaam.data.open.open_dataset` accepts, or an opened data set.
        out: a new or empty folder; by default ``runs/<name of the data>``, numbered if that exists.
        config: settings, or a mapping of them such as ``{"epochs": 12}``; those left None are chosen by
            `tlaam.config.defaults.resolve`.
        test_fraction: share of the training images to hold out for testing if the data has no test split.
        start: a trained model to start from instead of pretrained weights: a run folder, a published model's folder or
            its ``model.safetensors``, or ``hf://owner/name``. The run uses its model settings, weights and localiser,
            and a class that both have keeps its rows of every classifier (`tlaam.training.start`).
        keep_classes: keep classes of that model that the data lacks as possible predictions. They are not trained on.
        taxonomy: a table of the classes' taxa (`tlaam.taxonomy.files.read_taxonomy`), kept with the run.
        progress: report on standard error.

    Raises:
        ConfigError: a setting does not fit, or differs from that of the model to start from.
        DataError: the data cannot be used, or holds unreadable images and `skip_unreadable` is off.
        ModelError: the network or its weights are not available.
        RunError: `out` is not empty, the loss is not finite, or the disk is full.
    """
    if keep_classes and start is None:
        raise ConfigError("keep_classes keeps classes of a model to start from, and there is none.")
    settings, former = _settings(config), None if start is None else read_former(start)
    given = resolve_machine(settings if former is None else former.settings(settings))
    require_tracker(given.training.logger)
    fabric = launched(given)

    def prepare() -> tuple[_Plan, Path, list[dict[str, str]]]:
        if out is not None:
            RunFolder(Path(out)).require_new()  # fails now, before every image is read and the network is built
        images = source if isinstance(source, LabelledImages) else open_dataset(source)
        opened = images.fingerprint()
        if not images.split("train"):
            raise DataError(f"{images.root} holds no training images.")
        images, skipped = readable(images, given.training.skip_unreadable, progress)
        images = with_found_depth(images, progress)
        images = with_splits(with_equal_images(images, given, test_fraction, progress), given, test_fraction)
        if line := contradictions(images):
            say(line, progress)
        if given.training.select_on == "test" and not images.split("test"):
            raise DataError(f"{images.root} has no test split that select_on=test could choose the epoch on.")
        path = Path(out) if out is not None else free_folder(images.name)
        begun = None if former is None else former.start(images.classes, keep_classes=keep_classes)
        plan = _Plan(images, resolve(given, images, started=begun is not None), opened, start=begun)
        if taxonomy is not None:
            plan = replace(plan, taxonomy=read_taxonomy(taxonomy, plan.classes))
        return plan, path, skipped

    with _random_state_kept(), ExitStack() as stack:
        with collector_paused():  # data sets of millions of images are created here, and stay
            plan, path, skipped = on_first(fabric, prepare)
        folder = RunFolder(path)
        model = _model(plan)
        if former is not None:
            former.carry_into(model, plan.config.model, plan.classes)
        if plan.config.training.batch_size is None:
            classes, count = len(plan.classes), len(plan.images.split("train"))
            found = largest_batch(fabric, model, plan.config, classes, count)
            plan = replace(plan, config=plan.config.with_options(batch_size=found))
        if plan.config.training.workers is None and plan.config.training.epochs == 0:
            plan = replace(plan, config=plan.config.with_options(workers=spare_cores()))
        if plan.config.training.workers is None:
            loaded = training_images(plan.images.split("train"), plan.config)
            found = needed_workers(fabric, model, plan.config, len(plan.classes), loaded)
            plan = replace(plan, config=plan.config.with_options(workers=found))

        def begin() -> None:
            stack.enter_context(folder.created())
            facts = {
                "source": reopenable(source, plan.images),
                **facts_of(plan.images),
                "source_fingerprint": plan.source_fingerprint,
                "test_fraction": test_fraction,
                "val_fraction": plan.config.training.val_fraction,
                "seed": plan.config.training.seed,
            }
            with full_disk_named(folder.path, "begin again."):
                write_json(folder.data, facts)
                if plan.taxonomy is not None:
                    keep_taxonomy(folder.path, plan.taxonomy)
                if skipped:
                    write_json(folder.skipped, {"skipped": skipped})
                made = {"command": shlex.join(sys.argv), "versions": versions(), "commit": commit()}
                folder.note_status(state="running", begun=_now(), **made)
                if plan.start is not None:  # the model it starts from may be gone when the run is resumed
                    save_model(folder.start, model, plan.config.model, plan.classes, started_from=plan.start.origin)
                    folder.note_status(started_from=plan.start.to_dict())
                folder.write_config(plan.config)

        on_first(fabric, begin)
        _fit_and_store(fabric, model, plan, folder, progress)
    return path


def resume(
    run: str | Path,
    *,
    source: LabelledImages | str | Path | None = None,
    progress: bool = True,
    **machine: str | int | None,
) -> Path:
    """Continue a run from its newest intact checkpoint and return its folder; a finished run is left as it is.

    If a finished run's model is damaged, it is written again from the newest checkpoint.

    Args:
        run: the run folder.
        source: the run's data, if it has moved: its new path, which the run remembers, or the data set itself.
        progress: report on standard error.
        machine: replacements for `tlaam.config.sections.MACHINE_OPTIONS`; None keeps the run's own.

    Raises:
        ConfigError: another option is given.
        DataError: the data can no longer be read.
        RunError: the folder holds no run, is in use, or was begun with other data or on another number of devices.

    Examples:
        >>> tlaam.resume("runs/birds", progress=False).name  # it has finished: nothing is done
        'birds'
    """
    changes = {name: value for name, value in machine.items() if value is not None}
    for name in changes:
        if name not in MACHINE_OPTIONS:
            raise ConfigError(
                f"option '{name}' cannot change within a run; --resume accepts {', '.join(MACHINE_OPTIONS)}. "
                "Begin a new run instead."
            )
    if changes.get("devices") in ACCELERATORS:
        changes.setdefault("accelerator", changes["devices"])  # instead of the run's own
    folder = RunFolder(Path(run))
    folder.require_run()
    status = folder.read_json(folder.status)
    if status.get("state") == "finished":
        try:
            require_intact(folder.path)
        except ModelError as error:
            kept = set_aside(folder.path)
            say(f"{error} It is written anew from the newest checkpoint{kept}.", progress)
        else:
            say(f"{folder.path} has finished already; nothing to do.", progress)
            return folder.path
    begun = settings_of(folder)
    config = resolve_machine(begun.with_options(**changes))
    require_tracker(config.training.logger)
    before, now = named_devices(begun.training), named_devices(config.training)
    if before is not None and now is not None:
        require_same_devices(before, now)  # fails now, before processes are started for them
    fabric = launched(config)

    def prepare() -> _Plan:
        stack.enter_context(folder.locked())
        remove_leftovers(folder.path)
        if status.get("state") == "failed":
            say(f"This run failed before ({status.get('reason')}) and may well do so again.", progress)
        images = reopened(folder, source, config)
        checkpoints = Checkpoints(folder.checkpoints)
        found = checkpoints.newest()
        for complaint in found.complaints:
            say(complaint, progress)
        if found.state is None:
            checkpoints.drop_best_after(None)
            say("No checkpoint yet; the run starts from its first step.", progress)
        else:
            require_same_run(folder, found.state, images, config, fabric.world_size)
            _settle_best(checkpoints, found.state, config, progress)
            say(f"Continuing after step {found.state['step']}.", progress)
            say_other_versions(found.state["identity"]["versions"], progress)
        folder.note_status(state="running", reason=None)
        begun = None
        if "started_from" in status:
            begun = Start.from_dict(status["started_from"], folder.path)
        return _Plan(images, config, checkpoint=found.state, start=begun)

    with _random_state_kept(), ExitStack() as stack:
        plan = on_first(fabric, prepare)
        model = _model(plan)
        if plan.start is not None and plan.checkpoint is None:
            model.load_state_dict(load_model(folder.start).network.state_dict())
        _fit_and_store(fabric, model, plan, folder, progress)
    return folder.path


def _fit_and_store(fabric: Fabric, model: Architecture, plan: _Plan, folder: RunFolder, progress: bool) -> None:
    images = plan.images
    identity = {"fingerprint": images.fingerprint(), "versions": versions(), "settings": deciding_settings(plan.config)}
    train_samples, val_samples = images.split("train"), images.split(plan.config.training.select_on)
    if fabric.is_global_zero:
        lines = header(images, plan.config, plan.start, resumed=plan.checkpoint is not None)
        for line in (*lines, *model.remarks):
            say(line, progress)

    def mark_foreground() -> None:
        began = time.monotonic()
        again = f"continue with: {resume_command(folder)}"
        with lost_loaders_named(folder.path), full_disk_named(folder.path, again):
            write_pseudo_masks(fabric, model, train_samples, plan.config, folder.pseudo_masks, progress=progress)
        folder.note_status(pseudo_mask_seconds=round(time.monotonic() - began, 1))

    def probe() -> dict[str, Any]:
        again = f"continue with: {resume_command(folder)}"
        with lost_loaders_named(folder.path), full_disk_named(folder.path, again):
            assert isinstance(model, TLAAM)
            network, start = model, plan.start
            say(f"Probe: looking at {len(train_samples):,} images with the backbone as it is ...", progress)
            if start is not None and start.kept:  # classifiers are solved only for classes with images
                network = _without_kept(model, plan)
            found = fit_probe_model(
                fabric, network, train_samples, plan.config, fit_finder=start is None, progress=progress
            )
            if start is not None and start.kept:
                rejoin(model, network, [images.classes.index(name) for name in start.shared])
            if found.masks is not None and plan.config.training.epochs:
                write_masks(folder.pseudo_masks, found.masks)
            if not plan.config.training.epochs:
                write_out_of_fold(folder.out_of_fold, found.answers)
        folder.note_status(probe=found.facts._asdict())
        say(said(found.facts), progress)
        return {name: value.cpu() for name, value in model.state_dict().items()}

    if plan.config.training.cache is not None:
        cache = InputCache(plan.config.training.cache, plan.config.model.source_size or 0)
        on_first(fabric, lambda: _fill(cache, [*train_samples, *val_samples], progress))
    began_now = plan.checkpoint is None  # before the first step the backbone's weights are the pretrained ones
    if began_now and _can_begin(model, plan.config):
        model.load_state_dict(on_first(fabric, probe))
    elif began_now and _learns_foreground(model) and not folder.pseudo_masks.exists():
        on_first(fabric, mark_foreground)
    masks = None
    if _learns_foreground(model) and plan.config.training.epochs:
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
            probed=_can_begin(model, plan.config),
            checkpoint=plan.checkpoint,
            progress=progress,
        )
    except Diverged as error:
        if fabric.is_global_zero:
            folder.note_status(state="failed", reason=error.reason)
        raise
    finally:  # a stopped run may have needed more memory than the rest of it will
        if fabric.is_global_zero:
            with suppress(OSError, TlaamError):  # must not hide the error that ended the run
                _note_memory(folder, fabric)

    def finish() -> None:
        with full_disk_named(folder.path, f"continue with: {resume_command(folder)}"):
            origin = {} if plan.start is None else {"started_from": plan.start.origin}
            save_model(folder.path, model, plan.config.model, plan.classes, images.depth, **origin)
            probed = folder.read_json(folder.status).get("probe", {}).get("seconds", 0.0)
            folder.note_status(state="finished", finished=_now(), seconds=round(total_seconds(history) + probed, 1))

    on_first(fabric, finish)


def _fill(cache: InputCache, samples: Sequence[Sample], progress: bool) -> None:
    with tqdm(desc="caching images", file=sys.stderr, leave=False, disable=None if progress else True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        cache.fill(samples, progress=show)


def _note_memory(folder: RunFolder, fabric: Fabric) -> None:
    """Note the peak memory of the first process, in this or an earlier session."""
    peak = peak_memory(fabric.device)
    if peak is not None:
        folder.note_status(memory_bytes=max(peak, folder.read_json(folder.status).get("memory_bytes", 0)))


def _model(plan: _Plan) -> Architecture:
    torch.manual_seed(derive(plan.config.training.seed, "weights"))
    pretrained = plan.checkpoint is None and plan.start is None
    model = build_model(plan.config.model, len(plan.classes), load_pretrained=pretrained)
    if plan.checkpoint is None and _learns_foreground(model):
        try:
            probe_shape(model.backbone, plan.config.training.pseudo_mask_size)
        except ModelError as error:  # fails before every image is processed
            raise ModelError(
                f"{error} Pseudo masks are made at that size: give another pseudo_mask_size, or localizer=oaam."
            ) from error
    return model


def _without_kept(model: TLAAM, plan: _Plan) -> TLAAM:
    """Return a copy of a network that knows only the classes of the data."""
    count = len(plan.images.classes)
    narrow = build_model(plan.config.model, count, load_pretrained=False)
    carry_over(model, narrow, plan.config.model, range(count))
    assert isinstance(narrow, TLAAM)
    return narrow


def _learns_foreground(model: Architecture) -> bool:
    """Return whether the localiser is trainable, and so needs pseudo masks."""
    localizer = getattr(model, "localizer", None)
    return isinstance(localizer, Localizer) and localizer.learns


def _can_begin(model: Architecture, config: Config) -> bool:
    """Return whether a probe comes first; a third-party localiser that learns in epochs cannot be fitted for one."""
    if not config.training.probe_first or not isinstance(model, TLAAM):
        return False
    return config.training.epochs == 0 or not _learns_foreground(model) or isinstance(model.localizer, Foreground)


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


def _settle_best(checkpoints: Checkpoints, state: dict[str, Any], config: Config, progress: bool) -> None:
    """Keep on disk the best weights of the checkpoint, not those of epochs that have yet to be repeated."""
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
            say(str(error), progress)
            best_before = (
                e for e, row in enumerate(state["history"][:epoch]) if row["best"] and checkpoints.has_best(e)
            )
            state["best_epoch"] = max(best_before, default=None)
    if lost and epoch is not None:
        say(f"The weights of epoch {epoch + 1}, the best before it, are kept unless a better epoch comes.", progress)
    elif lost and state.get("probe_losses"):
        say("The probe is kept unless a better epoch comes.", progress)
    elif lost:
        say("The best epoch from here on is kept, or else the last.", progress)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
