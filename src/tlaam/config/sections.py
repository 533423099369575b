"""The settings themselves: for the model and for training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from tlaam.config.registry import KINDS, Kind, find, names

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
NotNegative = Annotated[float, Field(ge=0)]

NO_MODULE: dict[str, tuple[str, ...]] = {kind: () if kind == "architecture" else ("none",) for kind in KINDS}
"""Values that mean "no such module", by option. An architecture is always needed."""

ACCELERATORS = ("cpu", "cuda", "mps")
"""Values of `devices` besides numbers: all devices of a kind, as if `accelerator` named that kind."""

MACHINE_OPTIONS = ("accelerator", "devices", "nodes", "strategy", "workers", "cache", "logger")
"""Settings that may change when a run is resumed, because they change results by rounding at most."""


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )


class ModelConfig(Section):
    """Architecture of the two-level model (docs/how-it-works.md); sizes are pixels of the network's input.

    Options without a natural maximum have one here. A model may come from somebody else, and larger values would
    exhaust memory or patience.
    """

    architecture: str = "tlaam"
    """The two-level model, or one of the networks that it is compared with: RA-CNN, MA-CNN, TASN. Those have no modules
    of the two-level model, so that localizer, parts and attention are none."""
    backbone: str | None = None
    """Any timm model; default: convnext_tiny.in12k_ft_in1k_384 with a GPU, tf_efficientnet_lite0 without."""
    pretrained: str = "auto"
    """Weights to start from: auto, none, hub, package, or a file of weights or checkpoint of a training program."""
    image_size: Annotated[int, Field(ge=32, le=4096)] | None = None
    """Side S of the network's square input; default: with a GPU 384 of the default backbone, else 448, without 224."""
    raw_scale: Annotated[float, Field(ge=0.25, le=4)] | None = None
    """Side of the raw image as the network sees it, in sides of the object image (`image_size`), to the next multiple
    of 32; default: 9/7 where the foreground head finds the object, which is found better in more pixels, else 1."""
    source_size: Annotated[int, Field(ge=32, le=8192)] | None = None
    """Side of the source image that crops are cut from; default: twice the input's. Only a network without crops may
    have a smaller one than its input: it is enlarged."""
    norm_statistics: Literal["own", "shared", "pretrained"] | None = None
    """Statistics of batch normalisation: running ones, of whole images, objects and parts each their own or one for
    all; or the pretrained ones, unchanged in training too; default: pretrained where a probe comes first, else own. A
    probe alone (epochs 0) has one, which it never changes."""
    fusion: Literal["mean", "joint"] | None = None
    """The fused answer: the mean of the branches' probabilities, or a joint classifier on the branches' pooled features
    together; default: joint where a probe comes first, else mean."""
    drop_rate: Fraction = 0.0
    """Dropout before the classifier."""

    localizer: str | None = None
    """Object level: a foreground head that learns from pseudo masks, OAAM, CAM, Grad-CAM, Grad-CAM++, SCDA, MMAL-Net's
    AOLM, the centre or the full image whatever it shows, or none (no object branch); default: foreground where weights
    are pretrained, else oaam."""
    heatmap_layer: str | None = None
    """Backbone module whose map OAAM, Grad-CAM or Grad-CAM++ explains; default: the last one, where closed forms
    hold."""
    zoom_steps: Annotated[int, Field(ge=1, le=16)] = 1
    """How many times the object level zooms in. Boxes are the last look's, heat maps the first one's, which saw the
    whole image. The foreground head learns on whole images only, and further looks made its boxes worse."""
    threshold: NotNegative | None = None
    """Heat-map threshold: of OAAM a multiple of the map's mean, default: 1, or a fraction of its maximum; of CAM,
    Grad-CAM and Grad-CAM++ a fraction of the maximum, default: 0.2, 0.15 and 0.25; of the foreground head a
    probability, default: the one by which its boxes agree best with pseudo masks."""
    threshold_rule: Literal["mean", "max"] = "mean"
    """What OAAM's `threshold` multiplies; max needs one below 1."""
    heatmap_upsample: Annotated[int, Field(ge=1, le=64)] | None = None
    """Factor of bilinear upsampling of the heat map before the threshold; default: 1 for OAAM, 2 for foreground, 4 for
    CAM, Grad-CAM and Grad-CAM++."""
    box_margin: NotNegative = 0.05
    """Share of its side by which the object's box is widened on each side for the crop."""

    parts: str = "mpalm"
    """Part level: MPALM, MMAL-Net's APPM (with its windows for birds, or for cars and aircraft), windows where
    the most probable class gets its score from (contribution), windows at random places, or none."""
    part_channels: Annotated[int, Field(ge=1, le=1024)] = 2
    """MPALM's K': how many channels' peaks get windows; of `random`, how many places."""
    part_windows: Annotated[tuple[Fraction, ...], Field(max_length=64)] = (0.5, 0.75)
    """Window sides as shares of the object image's side (the source's: 96, 160 and 224 of 448)."""
    part_size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Side that parts are resized to; default: half the input's."""
    part_response: Literal["max", "mean"] = "max"
    """How a channel's response is measured when the K' largest are chosen."""
    part_distinct: bool = True
    """Skip peaks that coincide with one already taken."""

    attention: str = "lcam"
    """Channel attention inside the backbone's blocks: LCAM, ECA, squeeze and excitation, or none."""
    attention_kernel: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Neighbourhood t of LCAM and ECA; default: ECA's rule from the number of channels."""
    attention_stages: tuple[int, ...] | None = None
    """Backbone stages that get channel attention, negative from the last; default: all."""
    attention_gate: Literal["identity", "sigmoid"] = "identity"
    """identity leaves pretrained features unchanged at the start; sigmoid is the source's own."""

    @field_validator(*KINDS, mode="before")
    @classmethod
    def _registered_name(cls, value: Any, info: ValidationInfo) -> Any:
        option = cast("Kind", info.field_name)
        if value == cls.model_fields[option].default:
            return value
        if not isinstance(value, str) or (value not in NO_MODULE[option] and find(option, value) is None):
            *others, last = (f"'{name}'" for name in (*names(option), *NO_MODULE[option]))
            raise ValueError(f"Input should be {', '.join(others)} or {last}")
        return value


class TrainingConfig(Section):
    """How a run trains (docs/how-it-works.md)."""

    epochs: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Passes over the training images; 0: nothing but classifiers on frozen features (a probe); default: from the
    number of images."""
    probe_first: bool | None = None
    """Begin with a probe: localiser and classifiers are fitted on the frozen backbone, which training starts from and
    whose weights are kept unless it does better; default: where weights are pretrained and the two-level model is
    trained."""
    pseudo_mask_size: Annotated[int, Field(ge=96, le=4096)] = 704
    """Side of the input at which the pretrained backbone makes pseudo masks for the foreground head, once."""
    raw_epochs: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """First epochs that train the raw branch only; default: 0 where a probe comes first, else 2."""
    batch_size: Positive | None = 16
    """Images that a device holds at once; auto is as many as the memory holds, found by trying, at most 64 and such
    that an epoch has four steps. The learning rate is not changed with it."""
    accumulate: Positive = 1
    """Batches whose gradients are added up for one step of the optimiser, which then sees as many images as a batch
    so many times as large. Learning rate, clipping and moving average go by steps; batch normalisation by batches."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """Optimiser; default: adamw where a probe comes first, and for transformers and ConvNeXt, else sgd."""
    lr: NotNegative | None = None
    """Learning rate; default: 0.0001 with adamw for transformers and ConvNeXt, 0.0003 for others; with sgd 0.003 where
    a probe comes first, else 0.01."""
    classifier_lr: NotNegative | None = None
    """Learning rate of the classifier and of channel attention; default: `lr`."""
    backbone_lr_ratio: NotNegative = 1.0
    """Learning rate of the backbone, as a share of `lr`."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Learning rate of each of the backbone's stages (transformers: blocks), as a share of that of the next; default:
    0.75 with adamw, else 1."""
    frozen_stages: Annotated[int, Field(ge=0)] = 0
    """First stages of the backbone (transformers: blocks), its stem counted as one, that stay as they were."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative | None = None
    """Weight decay (not on biases and normalisation); default: 0.0001 with sgd, 0.05 with adamw."""
    schedule: Literal["cosine", "multistep", "constant"] = "cosine"
    """How the learning rates fall."""
    milestones: tuple[Positive, ...] = (60, 100)
    """Epochs after which `multistep` multiplies by 0.1."""
    warmup_epochs: NotNegative = 1.0
    """Epochs of linear warm-up."""
    balance: Literal["auto", "none", "logits", "sampler"] = "auto"
    """What is done where classes have unequally many images: logits takes how frequent each class is out of the scores
    (logit adjustment), sampler shows the images of each class equally often (and a probe takes logits), none leaves
    the frequent class the likelier answer; auto is logits where the largest class has 4 times the images of the
    smallest, else none."""
    label_smoothing: Fraction | None = None
    """Label smoothing of the cross-entropies; default: 0.1 where a probe comes first, else 0."""
    distillation: NotNegative = 0.0
    """Weight of what raw image and parts learn from the object's answers; 0: nothing."""
    paste: Fraction = 0.0
    """Share of the training images whose object is put before another image's background, by the pseudo masks; only
    where the foreground head finds objects."""
    gradient_clip: NotNegative | None = None
    """Largest gradient norm; 0 leaves gradients alone; default: 1 with adamw and where a probe comes first, else 0."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights; 0 keeps none."""
    start_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the start's weights in those that are measured and kept; the rest is of what was learnt; default: 0.25
    where a probe comes first, else 0; with fsdp 0."""
    patience: Annotated[int, Field(ge=0)] | None = None
    """Epochs without a better one on held-out images after which training ends; 0 waits for the last; default: 4 where
    a probe comes first, which counts as the epoch before the first, else 0."""
    augment: Literal["light", "medium", "strong"] = "light"
    """What is done to training images beside flip, jitter and crop_scale: light nothing; medium turns (to 15 degrees),
    moves, scales, shears and shifts colours; strong does so twice as far, and tilts, blurs and greys some. Boxes and
    pseudo masks follow."""
    flip: bool = True
    """Mirror images at random."""
    jitter: NotNegative = 0.2
    """Strength of brightness and contrast jitter."""
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the image's area that a random crop keeps; 1 never crops."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of everything random."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the training images held out where the data has no validation split."""
    keep: Literal["best", "last"] = "best"
    """Weights a run ends with: of the best validation epoch, or of the last."""
    select_on: Literal["val", "test"] = "val"
    """Split that the best epoch is chosen on; test is the best-epoch protocol of many papers, whose figures flatter."""
    skip_unreadable: bool = False
    """Train without images that cannot be read, and record which."""
    checkpoint_every: NotNegative = 120.0
    """Seconds between whole checkpoints within an epoch."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None
    """Arithmetic; default: bf16-mixed on a GPU that has it, else 32-true."""
    compile: bool = False
    """Compile the network with torch.compile: its first steps take minutes, the others less time."""
    recompute: bool = False
    """Make activations again in the backward pass instead of keeping them: less memory, more time."""
    accelerator: str = "auto"
    """Lightning's accelerator: cuda, mps (the GPU of Apple's processors, which nobody has tried) or cpu; auto is the
    first of these that there is."""
    devices: str = "auto"
    """Lightning's devices: a number, a list such as 0,1, or auto; or a kind: cpu, cuda, mps."""
    nodes: Positive = 1
    """Machines that train together."""
    strategy: str = "auto"
    """Lightning's strategy: auto or ddp; fsdp shards weights and optimiser over the devices."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes that load images; default: as many as keep up with the training steps, which is measured."""
    logger: Literal["tensorboard", "csv", "wandb", "mlflow", "none"] = "tensorboard"
    """Where losses and measures go beside history.csv: TensorBoard or metrics.csv in RUN/logs, Weights & Biases or
    MLflow (packages of their own; into RUN/logs, too, unless WANDB_MODE or MLFLOW_TRACKING_URI says where else)."""
    cache: str | None = None
    """Folder that keeps decoded, resized images between epochs and runs; only where crop_scale is 1."""

    @model_validator(mode="before")
    @classmethod
    def _kind_of_devices(cls, values: Any) -> Any:
        kind = values.get("devices") if isinstance(values, dict) else None
        if kind not in ACCELERATORS:
            return values
        given = values.get("accelerator", "auto")
        if given not in ("auto", kind):
            raise ValueError(f"devices = {kind} and accelerator = {given} are two kinds; leave one of them out")
        return {**values, "accelerator": kind, "devices": "auto"}

    @model_validator(mode="after")
    def _possible_together(self) -> TrainingConfig:
        if self.cache is not None and self.crop_scale < 1:
            raise ValueError("cache keeps whole images, which crop_scale below 1 does not use; leave one of them out")
        if self.compile and self.recompute:
            raise ValueError("compile and recompute do not go together; leave one of them out")
        if self.strategy == "fsdp" and (self.compile or self.ema_decay or self.start_share):
            raise ValueError("strategy = fsdp goes with none of compile, ema_decay and start_share; leave them out")
        if self.strategy == "fsdp" and self.batch_size is None:
            raise ValueError("strategy = fsdp does not find the batch's size by trying; give batch_size")
        return self

    @field_validator("devices", mode="before")
    @classmethod
    def _number_of_devices(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
