"""The training loop: steps, validation, checkpoints; resumable at any step.

Each step seeds the random state from (seed, step, device) and takes its batches from (seed, step), so the state of a
run consists only of its weights, buffers, optimiser and moving average. On CPU, with the same number of threads, a
resumed run repeats the uninterrupted one bit for bit without ``torch.use_deterministic_algorithms``, which would refuse
operators that are deterministic in our use; on a GPU the two agree up to rounding.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from sklearn.metrics import f1_score
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from tlaam.config.defaults import resolved
from tlaam.config.schema import Config
from tlaam.data.sample import Sample
from tlaam.data.skew import log_priors
from tlaam.errors import RunError
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import Backbone
from tlaam.models.build import memory_format
from tlaam.models.joined_norm import join_norms, separate_norms
from tlaam.models.joint import JointHead
from tlaam.models.localizers.foreground import Foreground
from tlaam.runs.folder import RunFolder
from tlaam.runs.history import COLUMNS, LOSSES, Row, epoch_row
from tlaam.training import sharding
from tlaam.training.balance import image_weights
from tlaam.training.blend import Blend
from tlaam.training.checkpoint import Checkpoints
from tlaam.training.dataset import EvaluationImages, Item, training_images
from tlaam.training.epoch_choice import EpochChoice
from tlaam.training.launch import on_first
from tlaam.training.loading import batch_loader, lost_loaders_named, with_plain_errors
from tlaam.training.loss import Losses, TwoLevelLoss, mean_losses
from tlaam.training.masks import PseudoMasks
from tlaam.training.optimizer import build_optimizer, freeze_stages, set_lr
from tlaam.training.pasting import on_other_backgrounds
from tlaam.training.reporting import Reporter
from tlaam.training.sampler import StepBatches
from tlaam.training.schedule import lr_factor
from tlaam.training.seeds import derive
from tlaam.training.signals import Interrupted, StopRequest, listening
from tlaam.training.threshold import ThresholdChooser
from tlaam.training.trackers import Tracker, open_tracker
from tlaam.training.transforms import jitter_colors
from tlaam.training.validation import validate
from tlaam.utils.atomic import full_disk_named, write_csv

_ENOUGH = 20
"""Minimum number of validation images for choosing a temperature on them."""
_SYNC_STEPS = 20
"""Steps between reads of values on the device, and between synchronisations of several devices."""

_SUMS = (*LOSSES, "top1")


class Diverged(RunError):
    """The loss or a weight is not finite; `reason` says which and where, without advice."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def resume_command(folder: RunFolder) -> str:
    """Return the command that continues a run, ready to be pasted into a shell."""
    return f"tlaam train --resume {shlex.quote(str(folder.path))}"


@dataclass
class _State:
    """The contents of a checkpoint besides tensors and the choice of an epoch."""

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(_SUMS))
    computed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    history: list[Row] = field(default_factory=list)


def fit(
    fabric: Fabric,
    model: Architecture,
    train: Sequence[Sample],
    val: Sequence[Sample],
    config: Config,
    folder: RunFolder,
    identity: dict[str, Any],
    *,
    masks: PseudoMasks | None = None,
    probed: bool = False,
    checkpoint: dict[str, Any] | None = None,
    progress: bool = True,
) -> list[Row]:
    """Train `model` in place and leave it, on the CPU or device, with the weights that the run keeps.

    Args:
        fabric: already launched.
        model: the network, on any device.
        train: training samples.
        val: validation samples; if there are none, the last weights are kept.
        config: resolved settings.
        folder: folder for checkpoints, ``history.csv`` and logs.
        identity: plain values stored in each checkpoint (fingerprint of the data, versions).
        masks: pseudo masks of the training samples, for a trainable localiser.
        probed: `model` is a probe: its weights are kept unless those of an epoch do better on validation images, by
            their negative log-likelihood (`tlaam.training.epoch_choice`).
        checkpoint: state to continue from (`Checkpoints.newest`).
        progress: show a bar if standard error is a terminal, and a line per epoch.

    Returns:
        The history, one row per epoch.

    Raises:
        DataError: an image cannot be read.
        Diverged: the loss or a weight is not finite.
        RunError: the disk or the GPU's memory is full, or a loader process died.
        Interrupted: the run was asked to stop; a checkpoint was saved.
    """
    with (
        listening() as stop,
        full_disk_named(folder.path, f"continue with: {resume_command(folder)}"),
        _full_memory_named(folder, resolved(config.training.batch_size)),
        lost_loaders_named(folder.path),
    ):
        training = _Fit(fabric, model, train, val, config, folder, identity, masks, probed, checkpoint, progress, stop)
        return training.run()


@contextmanager
def _full_memory_named(folder: RunFolder, batch_size: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"The GPU's memory is too small for batch_size {batch_size}: begin a new run with a lower batch_size; or, "
            f"if another program held the memory, continue with: {resume_command(folder)}"
        ) from error


def _backbones(model: nn.Module) -> Iterator[Backbone]:
    return (module for module in model.modules() if isinstance(module, Backbone))


class _Fit:
    def __init__(
        self,
        fabric: Fabric,
        model: Architecture,
        train: Sequence[Sample],
        val: Sequence[Sample],
        config: Config,
        folder: RunFolder,
        identity: dict[str, Any],
        masks: PseudoMasks | None,
        probed: bool,
        checkpoint: dict[str, Any] | None,
        progress: bool,
        stop: StopRequest,
    ) -> None:
        self.fabric, self.config, self.training, self.folder, self.identity = (
            fabric, config, config.training, folder, identity,
        )  # fmt: skip
        self.train, self.val, self.stop = train, val, stop
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.probed = probed and bool(val)
        self.state, self.choice = _State(), EpochChoice()
        labels = [sample.label for sample in train]
        priors = None
        if self.training.balance == "logits":
            priors = torch.from_numpy(log_priors(labels, max(labels) + 1)).float()
        self.criterion = TwoLevelLoss(resolved(self.training.label_smoothing), self.training.distillation, priors)
        self.criterion.to(fabric.device)
        # Weights of held-out images, if all classes are to be recognised equally well.
        self.val_weights: Tensor | None = None
        if self.training.balance != "none" and val:
            self.val_weights = torch.from_numpy(image_weights([sample.label for sample in val]))

        # Channels-last convolutions are faster on both CPUs and GPUs (benchmarks/results/cpu-training-speed.md).
        self.sharded = self.training.strategy == sharding.STRATEGY
        # `model` is evaluated and kept, `learner` takes the training steps.
        self.model = self.learner = model
        if self.sharded:
            self.learner = sharding.sharded_copy(model.cpu(), fabric.device)
        else:
            model.to(fabric.device, memory_format=memory_format(fabric.device))  # type: ignore[call-overload]
            for backbone in _backbones(model):  # when sharded, a convolution sees only its own weights
                join_norms(backbone.network, backbone.image_size)
        freeze_stages(self.learner, self.training.frozen_stages)
        # Warm-up lets a short run's average forget the untrained classifier; the decay depends only on the step.
        decay = self.training.ema_decay
        self.ema = ModelEmaV3(self.model, decay=decay, use_warmup=True) if decay else None
        share = self.training.start_share if self.training.epochs else 0.0
        self.blend = Blend(self.model, share) if share else None
        for backbone in _backbones(self.learner):
            backbone.recompute = self.training.recompute
        network = torch.compile(self.learner, fullgraph=True) if self.training.compile else self.learner
        self.wrapped = fabric.setup_module(network)
        self.optimizer = fabric.setup_optimizers(build_optimizer(self.learner, self.training))
        self.sums = torch.zeros(len(_SUMS), device=fabric.device)
        self.computed: set[str] = set()  # names of the losses in the epoch's steps
        self.told_epoch = -1
        if checkpoint is not None:
            self._restore(checkpoint)
            self._write_history()  # the file may have rows that the checkpoint lacks, or lack the last

        workers = self.training.workers or 0
        self.epochs, self.batch_size = resolved(self.training.epochs), resolved(self.training.batch_size)
        batches = StepBatches(
            len(train),
            self.batch_size,
            self.epochs,
            self.training.seed,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            start_step=self.state.step,
            accumulate=self.training.accumulate,
            balanced=labels if self.training.balance == "sampler" else None,
        )
        self.step_sizes, self.steps_per_epoch = batches.sizes, batches.steps_per_epoch
        self.reporter = Reporter(
            self.epochs,
            self.steps_per_epoch,
            self.batch_size * self.training.accumulate * fabric.world_size,
            progress=progress and fabric.is_global_zero,
            tracker=Tracker(),
        )
        on_gpu = fabric.device.type == "cuda"
        self.sync_steps = _SYNC_STEPS if fabric.device.type != "cpu" or fabric.world_size > 1 else 1
        dataset = training_images(train, config, masks)
        self.chooser = None if masks is None else ThresholdChooser(fabric, train, masks, config)
        self.loader = self._on_device(batch_loader(dataset, batches, workers, pin=on_gpu))
        mine = range(fabric.global_rank, len(val), fabric.world_size)
        size = self.batch_size
        self.val_loader = self._on_device(
            batch_loader(
                EvaluationImages(val, resolved(config.model.source_size), dataset.cache),
                [list(mine[start : start + size]) for start in range(0, len(mine), size)],
                workers,
                pin=on_gpu,
            )
        )

    def _on_device(self, loader: Any) -> Any:
        return self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)

    def run(self) -> list[Row]:
        """Take all remaining steps, then load the weights to keep."""
        self.broken = torch.full((2,), -1.0, device=self.fabric.device)  # (step, loss) of the first non-finite loss
        self.saved_at = time.monotonic()
        self.reporter.begin(self.state.step)
        self.wrapped.train()
        ended = "failed"
        try:
            if self.epochs:
                on_first(self.fabric, self._open_tracker)
            if self.state.step == 0:
                self._write_history()
                if self.blend is not None and self.fabric.is_global_zero:
                    self.checkpoints.save_start(self.model.state_dict())
                if self.probed and self.epochs and not self.choice.probe_losses:
                    self._measure_probe()
                self._save()  # too small a disk fails now, not in an hour
            self._steps()
            ended = "success"
        except Interrupted:
            ended = "KILLED"
            raise
        finally:
            self.reporter.end()
            self.reporter.tracker.close(ended)
        self._keep_weights()
        return self.state.history

    def _open_tracker(self) -> None:
        self.reporter.tracker = open_tracker(self.config, self.folder, self.state.step, self.reporter.say)

    def _measure_probe(self) -> None:
        """Report the probe's accuracy, and keep its weights until those of an epoch are better."""
        model = self.model.to(self.fabric.device)
        measured = validate(self.fabric, model, with_plain_errors(self.val_loader), len(self.val))
        if self.sharded:
            model.cpu()  # the device's memory is for the shards
        share = measured.measures["top1_fused"]
        self.reporter.say(
            f"The probe has {share:.1%} of the {len(self.val)} held-out images right; fine-tuning goes on."
        )
        self.choice.probe_losses = measured.calibrated(self.val_weights)[0].tolist()
        if self.fabric.is_global_zero:
            self.checkpoints.save_start(self.model.state_dict())

    def _steps(self) -> None:
        if self.state.step // self.steps_per_epoch > len(self.state.history):  # stopped during validation
            self._end_epoch()
        clock = time.monotonic()
        if self.state.step >= self.epochs * self.steps_per_epoch or self._is_out_of_patience():
            return
        with closing(with_plain_errors(self.loader)) as batches:
            while self.state.step < self.epochs * self.steps_per_epoch:
                losses = self._step(batches)
                self.state.step += 1
                self.reporter.advance()
                now = time.monotonic()
                self.state.seconds, clock = self.state.seconds + now - clock, now
                epoch_done = self.state.step % self.steps_per_epoch == 0
                if self.state.step % self.sync_steps == 0 or epoch_done:
                    self._require_finite_loss()
                if self.state.step % _SYNC_STEPS == 0:
                    self.reporter.losses(self.state.step, losses, self.optimizer.param_groups[0]["lr"])
                stop, save_due = self._decide()
                if epoch_done:
                    self._end_epoch()
                    clock = time.monotonic()  # `_end_epoch` has added its own time
                    if self._is_out_of_patience() and self.state.step < self.epochs * self.steps_per_epoch:
                        self.reporter.say(
                            f"Fine-tuning no longer helps: stopped after {len(self.state.history)} epochs."
                        )
                        return
                elif stop or save_due:
                    self._save()
                if stop and self.state.step < self.epochs * self.steps_per_epoch:
                    raise self._interrupted(stop)

    def _is_out_of_patience(self) -> bool:
        """Return whether the last epochs were no better than those before."""
        if not self.training.patience or not self.val:
            return False
        return self.choice.is_stalled(len(self.state.history), self.training.patience)

    def _interrupted(self, stop: int) -> Interrupted:
        return Interrupted(
            f"Stopped as asked after step {self.state.step}; a checkpoint is saved. "
            f"Continue with: {resume_command(self.folder)}",
            stop,
        )

    def _unless_stopped(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield validation batches; on a stop request, a single device saves the epoch's state so far and stops."""
        for batch in batches:
            if self.stop.signal_number and self.fabric.world_size == 1:
                self._save()
                raise self._interrupted(self.stop.signal_number)
            yield batch

    def _step(self, batches: Iterator[Item]) -> Losses:
        """Take one optimiser step over all of its batches, and return their mean losses."""
        step, training = self.state.step, self.training
        set_lr(self.optimizer, self._lr_factor(step))
        epoch = step // self.steps_per_epoch
        raw_only = epoch < resolved(training.raw_epochs)
        if epoch != self.told_epoch:
            self.learner.begin_epoch(epoch, self.epochs, raw_only)
            self.told_epoch = epoch
        sizes = self.step_sizes[step % self.steps_per_epoch]
        losses = []
        for number, size in enumerate(sizes):
            batch = next(batches)  # before seeding: a loader draws a random number when it starts
            torch.manual_seed(
                derive(training.seed, "step", step, self.fabric.global_rank, *([number] if number else []))
            )
            last = number == len(sizes) - 1  # with it, the devices synchronise the summed gradients
            with nullcontext() if last else self.fabric.no_backward_sync(self.wrapped):
                losses.append(self._backward(batch, size / sum(sizes), raw_only))
        if training.gradient_clip:
            self.fabric.clip_gradients(
                self.wrapped, self.optimizer, max_norm=training.gradient_clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.learner, step=step + 1)
        return mean_losses(losses, sizes)

    def _backward(self, batch: Item, share: float, raw_only: bool) -> Losses:
        """Add the gradients of a batch, which has `share` of the step's images, to those of its step."""
        images = batch.input_image
        if self.training.paste and batch.mask.numel():
            images = on_other_backgrounds(images, batch.mask, self.training.paste)
        if self.training.jitter:
            images = jitter_colors(images, batch.color_jitter)
        output = self.wrapped(images, batch.label, raw_only=raw_only)
        losses: Losses = self.criterion(output, batch.label, batch.mask)
        self.fabric.backward(share * losses.total)
        self._add_up(losses, (output.probabilities.argmax(-1) == batch.label).float().mean(), len(batch.label))
        return losses

    @torch.no_grad()
    def _add_up(self, losses: Losses, top1: Tensor, images: int) -> None:
        zero = torch.zeros_like(losses.total)
        self.computed.update(name for name, loss in zip(LOSSES, losses, strict=True) if loss is not None)
        self.sums += images * torch.stack([*(zero if loss is None else loss.detach() for loss in losses), top1])
        now = torch.stack([torch.full_like(zero, self.state.step), losses.total.detach()])
        self.broken = torch.where((self.broken[0] < 0) & ~losses.total.isfinite(), now, self.broken)

    def _lr_factor(self, step: int) -> float:
        return lr_factor(
            step,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.epochs,
            schedule=self.training.schedule,
            milestones=self.training.milestones,
            warmup_epochs=self.training.warmup_epochs,
        )

    def _backbone_lr(self) -> float:
        return resolved(self.training.lr) * self.training.backbone_lr_ratio

    def _decide(self) -> tuple[int, bool]:
        """Return the signal that requested a stop (0: none) and whether a checkpoint is due; same on every device."""
        due = time.monotonic() - self.saved_at >= self.training.checkpoint_every
        if self.fabric.world_size == 1:
            return self.stop.signal_number, due
        if self.state.step % self.sync_steps:
            return 0, False
        wishes = torch.tensor([self.stop.signal_number, int(due)], device=self.fabric.device)
        stop, due_anywhere = self.fabric.all_reduce(wishes, reduce_op="max").tolist()
        return int(stop), bool(due_anywhere)

    def _end_epoch(self) -> None:
        began = time.monotonic()
        state = self.state
        epoch = state.step // self.steps_per_epoch - 1
        images = sum(map(sum, self.step_sizes)) * self.fabric.world_size
        totals: list[float] = self.fabric.all_reduce(self.sums.clone(), reduce_op="sum").tolist()
        means: dict[str, float | None] = dict(zip(_SUMS, (total / images for total in totals), strict=True))
        means.update((name, None) for name in LOSSES if name not in self.computed)
        val: dict[str, float] = {}
        self._gather()
        self._blend()
        self._choose_threshold()
        if self.val:
            measured = self._best_guess().to(self.fabric.device)
            batches = self._unless_stopped(with_plain_errors(self.val_loader))
            found = validate(self.fabric, measured, batches, len(self.val))
            val = found.measures
            if self.val_weights is not None:
                val["macro_f1_fused"] = self._macro_f1(found.answers)
            self.choice.judge(*found.calibrated(self.val_weights), self.val_weights)
            if self.sharded:
                measured.cpu()  # the device's memory is for the shards
        row = epoch_row(epoch, state.step, self._backbone_lr() * self._lr_factor(state.step - 1), means, val)
        self.sums.zero_()
        self.computed.clear()
        self._require_finite_weights()
        if self.val and self.choice.take_if_best(epoch, row, state.history):
            row["best"] = 1
            if self.fabric.is_global_zero and self.training.keep == "best":
                self.checkpoints.save_best(epoch, self._best_guess().state_dict())
        row["seconds"] = round(state.seconds + time.monotonic() - began, 2)
        state.history.append(row)
        state.seconds = 0.0
        self.reporter.epoch(row, state.step)
        self._save()
        self._write_history()
        self.reporter.say_epoch(row, state.step)

    def _macro_f1(self, answers: Tensor) -> float:
        labels = [sample.label for sample in self.val]
        return float(f1_score(labels, answers.tolist(), average="macro", zero_division=0.0))

    def _choose_threshold(self) -> None:
        """Set the threshold that fits the current foreground head, in all copies of the network."""
        if self.chooser is None:
            return
        chooser, measured = self.chooser, self._best_guess().to(self.fabric.device)
        threshold = on_first(self.fabric, lambda: chooser.threshold_of(measured))
        if self.sharded:
            measured.cpu()
        if threshold is None:
            return
        for network in (self.model, self.learner, self._learnt(), measured):
            localizer = getattr(network, "localizer", None)
            assert isinstance(localizer, Foreground)
            localizer.threshold.fill_(threshold)

    def _write_history(self) -> None:
        if self.fabric.is_global_zero:
            write_csv(self.folder.history, COLUMNS, self.state.history)

    def _best_guess(self) -> Architecture:
        """Return the network that is evaluated and kept: the moving average, or its blend with the start."""
        return self._learnt() if self.blend is None else self.blend.network

    def _learnt(self) -> Architecture:
        return self.model if self.ema is None else cast("Architecture", self.ema.module)

    def _blend(self) -> None:
        if self.blend is not None:
            self.blend.update(self._learnt())

    def _require_finite_loss(self) -> None:
        broken = self.broken
        if self.fabric.world_size > 1:
            table = torch.zeros(self.fabric.world_size, 2, device=self.fabric.device)
            table[self.fabric.global_rank] = broken
            table = self.fabric.all_reduce(table, reduce_op="sum")
            broken = table[table[:, 0].argmax()]
        step, loss = broken.tolist()
        if step >= 0:
            epoch = int(step) // self.steps_per_epoch + 1
            raise self._diverged(f"The loss became {loss} in epoch {epoch}, step {int(step) + 1}")

    def _require_finite_weights(self) -> None:
        tensors = [sharding.local(t) for t in self.learner.state_dict().values() if t.is_floating_point()]
        finite = torch.stack([t.isfinite().all() for t in tensors]).all()
        if not self.fabric.all_reduce(finite.float(), reduce_op="sum") == self.fabric.world_size:
            raise self._diverged(f"A weight is not finite after step {self.state.step}")

    def _diverged(self, fault: str) -> Diverged:
        return Diverged(
            fault,
            f"{fault}; to continue would repeat it. Begin a new run with a lower lr, gradient_clip 1.0 or precision "
            f"32-true, and with another --out (or remove {self.folder.path}).",
        )

    def _save(self) -> None:
        self._require_finite_loss()
        self._require_finite_weights()
        sums = self.fabric.all_reduce(self.sums.clone(), reduce_op="sum").tolist()
        learnt = {"model": self.learner.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.sharded:
            learnt = sharding.whole(learnt)  # requires all devices
        if self.fabric.is_global_zero:
            self.state.sums, self.state.computed = sums, sorted(self.computed)
            state = {
                **vars(self.state),
                **vars(self.choice),
                **learnt,
                "ema": None if self.ema is None else self.ema.module.state_dict(),
                "scaler": self.fabric.strategy.precision.state_dict(),
                "world_size": self.fabric.world_size,
                "identity": self.identity,
            }
            # Before the checkpoint: a killed run continues after it and would not log these values again; duplicates
            # are purged.
            self.reporter.tracker.save()
            self.checkpoints.save(self.state.step, state)
        self.fabric.barrier()
        self.saved_at = time.monotonic()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        for part in (self.state, self.choice):
            vars(part).update((name, checkpoint[name]) for name in vars(part) if name in checkpoint)
        self.computed.update(self.state.computed)
        if self.sharded:
            sharding.load_whole(self.learner, self.optimizer, checkpoint)
        else:
            self.learner.load_state_dict(checkpoint["model"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
        if self.ema is not None:
            self.ema.module.load_state_dict(checkpoint["ema"])
        if self.blend is not None:
            self.blend.start = self.checkpoints.load_start()
        self.fabric.strategy.precision.load_state_dict(checkpoint["scaler"])
        if self.fabric.is_global_zero:  # sums over all devices are on the first one
            *losses, top1 = self.state.sums  # earlier versions had fewer losses
            losses += [0.0] * (len(LOSSES) - len(losses))
            self.sums += torch.tensor([*losses, top1], device=self.sums.device)

    def _gather(self) -> None:
        """Copy the weights of the shards into the plain network."""
        if self.sharded:
            self.model.load_state_dict(sharding.whole(self.learner.state_dict()))

    def _keep_weights(self) -> None:
        self._gather()
        self._blend()
        kept = self.choice.kept(self.training.keep)
        try:
            if kept.name == "probe":
                weights = self.checkpoints.load_start()
            elif kept.name == "last" or self.choice.best_epoch is None:
                weights = self._best_guess().state_dict()
            else:
                weights = self.checkpoints.load_best(self.choice.best_epoch)
        except RunError as error:  # damaged since it was written
            raise RunError(f"{error} Continue with what is intact: {resume_command(self.folder)}") from error
        self.model.load_state_dict(weights)
        self.model.eval()
        for backbone in _backbones(self.model):
            separate_norms(backbone.network)
        joint = getattr(self.model, "joint", None)
        if isinstance(joint, JointHead) and self.epochs and len(self.val) >= _ENOUGH:
            joint.cool(kept.temperature)
        if self.fabric.is_global_zero and self.epochs:
            self.folder.note_status(kept=kept.name)
        self._compare_with_probe(kept.name)

    def _compare_with_probe(self, kept: str) -> None:
        """Note and report how the epochs compare with the probe."""
        found = self.choice.comparison(self.val_weights)
        if found is None:
            return
        if self.fabric.is_global_zero:
            self.folder.note_status(held_out=found)
        verdict = "No epoch did" if kept == "probe" else f"The weights of {kept.replace('last', 'the last epoch')} do"
        tail = "; kept the probe" if kept == "probe" else ""
        before, gain = found["probe_loss"], found["gain"]
        self.reporter.say(
            f"{verdict} better than the probe on held-out images{tail}. (Negative log-likelihood of the probe "
            f"{before:.3f}; of epoch {found['lowest_in_epoch']}, the best by it, {before - gain:.3f}; standard error "
            f"of the difference {found['error']:.3f}.)"
        )
