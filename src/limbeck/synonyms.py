"""Synonyms of a recipe's words in other libraries and in papers. Used only for hints in error messages."""

from __future__ import annotations

import re


def simplified(word: str) -> str:
    """A word in lower case without hyphens, dots and underscores."""
    return re.sub(r"[^a-z0-9α-ω]", "", word.lower())


# From each word of a recipe to its synonyms, in the form that `simplified` returns.
_SYNONYMS = {
    # keys
    "lr": "learningrate baselr initiallr",
    "weight_decay": "wd l2 l2reg decayrate",
    "layer_decay": "llrd layerwiselrdecay layerwisedecay",
    "no_weight_decay": "weightdecayexclude excludefromweightdecay",
    "temperature": "t temp tau τ",
    "weight": "alpha α lambda λ lossweight coefficient",
    "warmup_epochs": "warmup warmupsteps",
    "epochs": "epoch numepochs nepochs maxepochs totalepochs",
    "batch_size": "bs batch trainbatchsize",
    "flip": "horizontalflip hflip randomhorizontalflip randomflip",
    "crop": "randomcrop padcrop",
    "resized_crop": "randomresizedcrop rrc",
    "erasing": "cutout randomerasing randomerase",
    "policy": "autoaugment randaugment trivialaugment aug augment augmentation augmentations transform transforms",
    "views": "augment augmentation augmentations transform transforms",
    "data": "dataset datasets",
    "source": "path root dir folder",
    "validation": "val valsplit validsplit validationsplit valfraction holdout",
    "train_images": "subset numtrain trainsize",
    "students": "student",
    "teachers": "teacher",
    "optimizer": "optim optimiser opt",
    "schedule": "scheduler lrscheduler lrschedule learningrateschedule",
    "loss": "losses criterion objective",
    "weights": "checkpoint ckpt pretrainedpath statedict file",
    "pretrained": "imagenetweights usepretrained",
    "clip_norm": "gradclip clipgrad clip clipgradnorm maxgradnorm gradientclipping",
    "ema": "modelema weightaverage swa",
    "decay": "emadecay",
    "patience": "earlystopping earlystop",
    "choose": "savebest best bestepoch",
    "precision": "amp dtype mixedprecision fp16 bf16",
    "device": "gpu cuda accelerator",
    "threads": "numthreads numworkers workers nworkers cpus",
    "resolution": "inputsize imgsize imagesize size",
    "image_size": "imgsize imagesize size resolution inputsize",
    "normalise": "normalize normalization normalisation mean std",
    "sd": "std stddev",
    "classes": "classnames labels names",
    "factor": "gamma lrgamma",
    "every_epochs": "stepsize",
    "final_fraction": "etamin minlr lrmin finallr",
    "label_smoothing": "smoothing",
    "drop_rate": "dropout",
    "dropout": "droprate p",
    "seeds": "seed randomseed",
    "seed": "randomseed",
    "outputs_bank": "cache cachelogits storelogits",
    "latency_batch": "latency",
    "megabytes": "mb mib modelsize maxsize size",
    "milliseconds": "ms latency maxlatency latencyms",
    "multiply_adds": "macs multadds madds mac flops maxmacs",
    "test_time": "tta testtimeaugmentation",
    "shifts": "shift translate translation translations",
    "scales": "scale zoom zooms multiscale",
    "target_weight": "alpha α",
    "non_target_weight": "beta β",
    "inter_weight": "beta β",
    "intra_weight": "gamma γ",
    # losses
    "soft_targets": "kd kl kldiv kldivloss kldivergence distillation knowledgedistillation hinton softtarget logits",
    "cross_entropy": "ce celoss crossentropyloss xent nll nllloss hardlabels labels",
    "dkd": "decoupledkd decoupled",
    # optimizers, schedules, policies
    "sgd": "momentum nesterov",
    "adamw": "adamwithweightdecay",
    "cosine": "cosineannealing cosineannealinglr cosinelr coslr warmupcosine",
    "one_cycle": "onecyclelr 1cycle superconvergence",
    "multi_step": "multisteplr milestones",
    "step": "steplr",
    "randaugment": "randaug",
    "autoaugment": "aa",
    "trivialaugment": "trivialaugmentwide ta",
    # data
    "cifar10": "cifar",
    "tinyimagenet": "tinyimagenet200 tin",
    "folder": "imagefolder directory images files photos",
    "parquet": "huggingface hf hub",
    # values
    "fp32": "float32 float full single 32",
    "fp16": "float16 half 16",
    "bf16": "bfloat16",
    "last": "final latest",
}
_MEANINGS: dict[str, list[str]] = {}
for _word, _synonyms in _SYNONYMS.items():
    for _synonym in _synonyms.split():
        _MEANINGS.setdefault(_synonym, []).append(_word)

VALUES = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}
"""Synonyms of values that have another meaning as keys."""

_DATA_SETS = (
    "mnist fashionmnist kmnist emnist svhn stl10 imagenet imagenet1k imagenet21k imagenet100 imagenette caltech101 "
    "caltech256 food101 flowers102 oxfordpets cub200 places365 coco inaturalist"
)
NOT_INCLUDED = frozenset(_DATA_SETS.split())
"""Well-known data sets that Limbeck does not include."""


def meanings(word: str) -> list[str]:
    """What a word of another library may mean in a recipe, most likely first."""
    found = [*_MEANINGS.get(simplified(word), ())]
    return [*found, VALUES[word.lower()]] if word.lower() in VALUES else found
