"""Optimizers and learning rates by the names recipes use."""

import keras

from kerasep.training.recipe import Recipe


class L2Adam(keras.optimizers.Adam):
    """Adam whose weight decay is L2, a term of the gradient as in PyTorch's Adam. Keras' own is decoupled (AdamW)."""

    def __init__(self, learning_rate, l2: float, **kwargs) -> None:
        super().__init__(learning_rate, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):  # after clipping, as PyTorch has it
        return super().update_step(gradient + self.l2 * variable, variable, learning_rate)


class Muon(keras.optimizers.Muon):
    """Keras' Muon (K. Jordan, 2024; scaled as in J. Liu et al., 2025), for stacks of matrices, (groups, inputs, outputs), too.

    Each matrix of a stack is made orthogonal by itself; a stack's biases, of one row each, are then steps of one length. What
    is neither is left to AdamW.
    """

    def _should_use_adamw(self, variable):
        return len(variable.shape) not in (2, 3)

    def lr_adjust(self, x):
        return x * self.rms_rate * max(x.shape[-2:]) ** 0.5


def optimizer(recipe: Recipe, epochs: int) -> keras.optimizers.Optimizer:
    """The recipe's optimizer for a run of so many epochs."""
    rate = float(recipe.learning_rate)
    if recipe.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, epochs * recipe.steps)
    common = {"global_clipnorm": recipe.clip or None}
    if recipe.ema:
        common |= {"use_ema": True, "ema_momentum": recipe.ema}
    if recipe.optimizer == "adam":
        made = L2Adam(rate, recipe.weight_decay, **common)
    elif recipe.optimizer == "adamw":
        made = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **common)
    elif recipe.optimizer == "muon":
        made = Muon(rate, weight_decay=recipe.weight_decay, adam_weight_decay=recipe.weight_decay, **common)
    else:
        made = keras.optimizers.Adadelta(rate, rho=0.95, **common)
    return keras.optimizers.LossScaleOptimizer(made) if recipe.precision == "mixed_float16" else made


def schedule(recipe: Recipe) -> list[keras.callbacks.Callback]:
    """What changes the learning rate or ends the run by how validation goes."""
    watch = {"monitor": "validation_db", "mode": "max", "min_delta": 0}
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.schedule == "plateau":
        plateau = {"factor": recipe.factor, "patience": recipe.patience, "cooldown": recipe.cooldown}
        callbacks.append(keras.callbacks.ReduceLROnPlateau(**watch, **plateau))
    if recipe.early_stop:
        callbacks.append(keras.callbacks.EarlyStopping(**watch, patience=recipe.early_stop))
    return callbacks
