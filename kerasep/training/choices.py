"""What a recipe chooses from, by the names that recipes and run records store."""

from enum import StrEnum


class Loss(StrEnum):
    """Losses (`kerasep.training.losses`)."""

    MSE = "mse"  # mean squared error of magnitudes
    L1 = "l1"  # mean absolute error of magnitudes
    SUMS = "sums"  # mean squared error of all sums of stems
    LEVEL = "level"  # SNR with a soft threshold, on phase-sensitive targets
    DEEPCONVSEP = "deepconvsep"  # DeepConvSep's


class Optimizer(StrEnum):
    """Optimizers (`kerasep.training.optimizers`); what a recipe's `weight_decay` means depends on them."""

    ADAM = "adam"  # weight decay is L2, a term of the gradient as in PyTorch's Adam
    ADAMW = "adamw"  # decoupled weight decay
    MUON = "muon"  # AdamW, with orthogonal updates of matrices
    ADADELTA = "adadelta"  # rho 0.95, no weight decay


class Schedule(StrEnum):
    """Learning rate schedules."""

    CONSTANT = "constant"
    COSINE = "cosine"  # down to zero over all steps
    PLATEAU = "plateau"  # lower after epochs without a better validation


class Precision(StrEnum):
    """Keras' dtype policies that networks train under."""

    FLOAT32 = "float32"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    MIXED_FLOAT16 = "mixed_float16"  # with loss scaling, to keep gradients in range
