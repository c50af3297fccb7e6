"""Optimizers and learning rate schedules of recipes."""

import keras

from kerasep.training.choices import Optimizer, Precision, Schedule
from kerasep.training.recipe import Recipe


class L2Adam(keras.optimizers.Adam):
    """Adam whose weight decay is L2, a term of the gradient as in PyTorch's Adam. Keras' own is decoupled (AdamW)."""

    def __init__(self, learning_rate, l2: float, **kwargs) -> None:
        super().__init__(learning_rate, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):  # after clipping, as PyTorch has it
        return super().update_step(gradient + self.l2 * variable, variable, learning_rate)


class Muon(keras.optimizers.Muon):
    """Keras' Muon (K. Jordan, 2024; scaled as in J. Liu et al., 2025), for stacks of matrices (groups, inputs, outputs), too.

    The update of each matrix of a stack is made orthogonal separately; a stack's biases (groups, 1, units) get updates of equal
    norm. All other variables are left to AdamW.
    """

    # Private in Keras, and the only place where it decides which variables are matrices: its arguments can exclude layers, but
    # not add stacks. A test of optimizers notices when Keras stops calling it.
    def _should_use_adamw(self, variable):
        return len(variable.shape) not in (2, 3)

    def lr_adjust(self, x):
        return x * self.rms_rate * max(x.shape[-2:]) ** 0.5


def optimizer(recipe: Recipe, epochs: int) -> keras.optimizers.Optimizer:
    """The recipe's optimizer, its schedule spread over `epochs`."""
    rate = float(recipe.learning_rate)
    if recipe.schedule is Schedule.COSINE:
        rate = keras.optimizers.schedules.CosineDecay(rate, epochs * recipe.steps)
    common = {"global_clipnorm": recipe.clip or None}
    if recipe.ema:
        common |= {"use_ema": True, "ema_momentum": recipe.ema}
    made: keras.optimizers.Optimizer
    match recipe.optimizer:
        case Optimizer.ADAM:
            made = L2Adam(rate, recipe.weight_decay, **common)
        case Optimizer.ADAMW:
            made = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **common)
        case Optimizer.MUON:
            made = Muon(rate, weight_decay=recipe.weight_decay, adam_weight_decay=recipe.weight_decay, **common)
        case Optimizer.ADADELTA:
            made = keras.optimizers.Adadelta(rate, rho=0.95, **common)
    return keras.optimizers.LossScaleOptimizer(made) if recipe.precision is Precision.MIXED_FLOAT16 else made


def schedule(recipe: Recipe) -> list[keras.callbacks.Callback]:
    """Callbacks that lower the learning rate or end the run depending on the validation SNR."""
    watch = {"monitor": "validation_db", "mode": "max", "min_delta": 0}
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.schedule is Schedule.PLATEAU:
        plateau = {"factor": recipe.factor, "patience": recipe.patience, "cooldown": recipe.cooldown}
        callbacks.append(keras.callbacks.ReduceLROnPlateau(**watch, **plateau))
    if recipe.early_stop:
        callbacks.append(keras.callbacks.EarlyStopping(**watch, patience=recipe.early_stop))
    return callbacks
