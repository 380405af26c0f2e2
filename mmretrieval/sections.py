"""What a recipe may say: its sections, their keys, types and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmretrieval.media.sampling import Sampling

if TYPE_CHECKING:
    from mmretrieval.media.transforms import Augmentation

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(ge=0)]
Path_ = str


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class DataSection(Section):
    """Where the clips lie and how they are read."""

    train: Path_
    val: Path_
    test: Path_ | None = None
    modalities: list[Literal["video", "speech", "text"]] = ["video", "speech", "text"]
    on_bad: Literal["skip", "raise"] = "skip"
    workers: Annotated[int, Field(ge=0)] = 2
    decoder: Literal["decord", "pyav"] = "decord"
    cache: Path_ | None = None
    """A folder in which decoded clips are kept after the first pass; null decodes the files again each time."""
    features: Path_ | None = None
    """A folder in which the features of frozen encoders are kept: each clip is decoded and encoded once, as evaluation
    sees it. null encodes it again each time."""
    feature_type: Literal["float16", "bfloat16", "float32"] = "float16"
    """The type of number that features are kept in."""
    feature_views: Annotated[int, Field(ge=0)] = 0
    """Random views of each training clip that are kept, to draw from; 0 trains on what evaluation sees."""


class BackboneSection(BaseModel):
    """A backbone by name; every other key is an argument of its builder."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class PooledSection(Section):
    """How the features of a modality become one vector before its head."""

    pool: Literal["mean", "max", "attention", "sampled"] = "mean"
    pool_number: Positive = 10
    """Positions that ``pool: sampled`` draws in training; in evaluation it is the mean of all."""
    norm: Literal["batch", "l2", "none"] = "batch"
    """l2 brings the part of each network to unit length, as the video features of Spoken Moments."""


class ClipSection(Section):
    """Frames and size are 8 and 64 unless given; a pretrained backbone brings its own."""

    backbone: BackboneSection
    frames: Positive | None = None
    size: Positive | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    """Frames per second of a window in the middle of the clip (dense sampling); null spreads the frames over it."""
    sampling: Literal["uniform", "dense"] | None = None
    """Choose frames as recognition papers do, see ``media.sampling.Sampling``; null as fps says."""
    stride: Positive = 1
    """Of dense sampling: distance between frames."""
    per_group: Positive = 1
    """Of uniform sampling: frames drawn from each segment in training."""
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """Side of the square that evaluation cuts out, as a share of the largest one's: 0.875 as most recognition papers.
    null is all of it, or what a pretrained backbone expects."""

    @model_validator(mode="after")
    def _possible(self) -> ClipSection:
        if self.sampling is None:
            if (self.stride, self.per_group) != (1, 1):
                raise ValueError("stride and per_group belong to a sampling: add sampling: dense or sampling: uniform")
        elif self.fps is not None:
            raise ValueError("fps and sampling both say which frames are looked at: leave one of them out")
        else:
            Sampling(self.sampling, self.frames or 8, self.stride, self.per_group)
        return self


class VideoSection(PooledSection, ClipSection):
    """The video side of a retrieval model."""


class EncoderSection(BaseModel):
    """An encoder by name; every other key is an argument of its builder."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class SpeechSection(PooledSection):
    encoder: EncoderSection
    mels: Positive | None = None
    """Mel bands, 40 unless given; a pretrained encoder knows what it hears."""
    max_seconds: Annotated[float, Field(gt=0)] = 20.0
    crop_seconds: Annotated[float, Field(gt=0)] | None = None
    """In training longer recordings are cut to so much, at random; null cuts them to max_seconds."""


class TextSection(PooledSection):
    encoder: EncoderSection
    vocab_size: Annotated[int, Field(ge=64)] = 1000
    """Pieces of the vocabulary that is learned from the captions; a pretrained encoder brings its own."""
    max_tokens: Positive | None = None
    """Longest caption; 64 unless given, or as long as a pretrained encoder can."""


class CodebookSection(Section):
    """The shared codebook; see ``EMACodebook``."""

    size: Positive = 512
    dim: Positive = 256
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    distance: Literal["l2", "sq_l2"] = "l2"
    tau: Annotated[float, Field(gt=0)] = 1.0
    revive_after: Positive = 100


class ModelSection(Section):
    dim: Positive = 512
    similarity: Literal["cosine", "dot"] = "cosine"
    scale: Annotated[float, Field(ge=1, le=100)] = 20.0
    """What cosines are multiplied by at the start of training; it is learned from there."""
    head: Literal["glu", "gated", "linear", "none"] = "glu"
    """none is for features that are embeddings already, such as those of a pretrained dual encoder."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    video: VideoSection | None = None
    speech: SpeechSection | None = None
    text: TextSection | None = None
    codebook: CodebookSection | None = CodebookSection()


class RecognizerSection(Section):
    """A recognition model; its classes are those of the training clips."""

    video: ClipSection
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class LearningSection(Section):
    """How any model is trained."""

    epochs: Positive = 10
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Clips per step over all processes together."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Rate = 0.01
    optimizer: Literal["adamw", "adam", "muon", "sgd"] = "adamw"
    """adam is that of the retrieval papers: momenta 0.9 and 0.999, weight decay as part of the gradient; sgd is that of
    the recognition papers: momentum 0.9; muon learns kernels of convolutions faster from few clips."""
    muon_rate: Annotated[float, Field(gt=0)] = 20.0
    """Muon's rate as a multiple of lr."""
    rates: dict[str, Rate] = {}
    """Beginning of a parameter's name → the share of the rate it is trained at, e.g. branches.text.encoder: 0.03; 0
    freezes: no gradient, evaluation mode for good."""
    freeze_norm: list[str] = []
    """Beginnings of names of parts that learn while their batch normalisations keep their running statistics."""
    schedule: Literal["one_cycle", "constant", "cosine", "multi_step"] = "one_cycle"
    """All rise over warmup; one_cycle and cosine fall to 0, multi_step falls to a tenth at each of the milestones."""
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = [0.5, 0.8]
    """Shares of all steps at which multi_step falls."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of all steps over which the rate rises."""
    clip_grad: Rate = 1.0
    """Largest gradient norm; 0 leaves gradients alone."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto is bf16 where the machine computes it fast, fp32 elsewhere."""
    sync_norm: bool = True
    """With several processes, batch normalisations take the statistics of the global batch."""
    compile: bool = False
    """Compile the encoders by torch.compile: slow first steps, faster ones after, mostly on a GPU."""
    evaluate_every: Positive = 1
    """Epochs between evaluations of the validation set."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0


class TrainingSection(LearningSection):
    """How a retrieval model is trained; the clips of a batch are the negatives of every anchor."""

    codebook_start: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of all steps before the codebook is started by k-means; until then the model is the continuous one."""
    chunk_size: Positive | None = None
    """Clips that the encoders of a process see at a time, so that a large batch needs the memory of a small one: the
    loss and its gradient stay those of the whole batch. null is the whole batch."""


class WeightsSection(Section):
    """A file of weights for a part of the model; where that is all, the file stands alone."""

    file: Path_
    inflate: Literal["repeat", "mean"] | None = None
    """How weights of images become weights of video, see ``backbones.inflate``; null is for weights of video."""

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str) else given


class AnyRecipe(Section):
    """What every training run has."""

    task: str
    output: Path_
    seed: int = 0
    init_from: Path_ | None = None
    """A saved model of the same architecture to start from, vocabulary or classes included; null starts with new
    weights."""
    weights: dict[str, WeightsSection] = {}
    """Part of the model → file of weights it starts with, e.g. branches.video.encoder.backbone: tsm_resnet50.pth, or
    {file: resnet50-0676ba61.pth, inflate: repeat} where weights of images become weights of video."""

    @property
    def augmentation(self) -> Augmentation:
        """How training cuts the frames of clips."""
        from mmretrieval.media.transforms import Augmentation

        return Augmentation()


class Recipe(AnyRecipe):
    """A training run of a retrieval model."""

    task: Literal["retrieval"] = "retrieval"
    data: DataSection
    model: ModelSection
    objective: dict[str, dict[str, Any]]
    training: TrainingSection = TrainingSection()


class RecognitionData(DataSection):
    """The clips of a recognition model, with their classes as labels."""

    modalities: list[Literal["video"]] = ["video"]
    augment: Literal["crop", "multi_scale", "jitter", "none"] = "crop"
    """How training cuts frames: a square nearly as large as can be; as published; as its second version; as evaluation
    does."""
    flip: bool | Literal["always"] = False
    """Mirror half of the training clips; refused where names of classes speak of left, right or a direction of turning,
    unless it is always."""
    opposites: list[tuple[str, str]] = []
    """Pairs of classes that only the order of frames tells apart; how well each pair is told apart is reported."""


class RecognitionRecipe(AnyRecipe):
    """A training run of a recognition model."""

    task: Literal["recognition"] = "recognition"
    reset_head: bool = False
    """Begin with a new classifier although ``init_from`` brings one: for clips of other classes."""
    data: RecognitionData
    model: RecognizerSection
    training: LearningSection = LearningSection()

    @property
    def augmentation(self) -> Augmentation:
        from mmretrieval.media.transforms import Augmentation

        return Augmentation(self.data.augment, bool(self.data.flip))


RECIPES: dict[str, type[AnyRecipe]] = {"retrieval": Recipe, "recognition": RecognitionRecipe}
"""What ``task:`` may say."""
