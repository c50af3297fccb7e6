"""Optimizers against their updates written out, and by the names recipes use."""

import keras
import numpy as np
import pytest
from conftest import SHORT, SMALL
from keras import ops

from kerasep.datasets.musdb import SOURCES
from kerasep.training.choices import Optimizer
from kerasep.training.optimizers import L2Adam, Muon, optimizer, schedule
from kerasep.training.recipe import RECIPES, Recipe


def small(*settings: str) -> Recipe:
    return RECIPES["conv-norm"].override([*SMALL, *SHORT, *(f"epochs.{source}=2" for source in SOURCES), *settings])


def test_l2_adam_is_adam_with_l2_in_the_gradient():
    """Five steps written out (PyTorch's Adam with weight_decay; D. Kingma and J. Ba, ICLR 2015, algorithm 1)."""
    weight = start = np.array([1.0, -2.0, 3.0])
    variable = keras.Variable(start, dtype="float32")
    adam = L2Adam(0.1, l2=0.5)
    m = v = np.zeros(3)
    for step in range(1, 6):
        gradient = np.array([0.1, 0.2, -0.3]) * step
        adam.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        g = gradient + 0.5 * weight
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        weight = weight - 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
    assert np.allclose(np.asarray(variable), weight, atol=1e-5)


def test_clipping_comes_before_decay():
    variable = keras.Variable([3.0], dtype="float32")
    adam = L2Adam(0.1, l2=0.5, global_clipnorm=1.0)
    adam.apply([keras.ops.convert_to_tensor([1000.0])], [variable])
    assert float(adam._momentums[0][0]) == pytest.approx(0.1 * (1.0 + 0.5 * 3.0))


def test_muon_takes_a_stack_matrix_by_matrix():
    random = np.random.default_rng(0)
    stack, gradients = (random.normal(size=(3, 4, 5)).astype(np.float32) for _ in range(2))
    together = keras.Variable(stack)
    alone = [keras.Variable(matrix) for matrix in stack]
    ours, theirs = Muon(0.1, weight_decay=0.1), keras.optimizers.Muon(0.1, weight_decay=0.1)
    ours.apply([ops.convert_to_tensor(gradients)], [together])
    theirs.apply([ops.convert_to_tensor(gradient) for gradient in gradients], alone)
    assert np.allclose(together, np.stack([np.asarray(matrix) for matrix in alone]), atol=1e-6)


def test_optimizers_and_schedules_by_name():
    cosine = optimizer(small("schedule=cosine", "optimizer=adamw", "clip=1"), epochs=5)
    assert isinstance(cosine, keras.optimizers.AdamW) and cosine.global_clipnorm == 1
    cosine.build([keras.Variable([1.0])])
    for step, expected in ((0, 1e-3), (5, 5e-4), (10, 0.0)):
        cosine.iterations.assign(step)
        assert float(cosine.learning_rate) == pytest.approx(expected, abs=1e-9)
    muon = optimizer(small("optimizer=muon", "weight_decay=0.1"), epochs=5)
    assert isinstance(muon, keras.optimizers.Muon) and muon.weight_decay == muon.adam_weight_decay == 0.1
    adadelta = optimizer(small("optimizer=adadelta", "schedule=constant", "learning_rate=1", "ema=0.99"), epochs=5)
    assert (adadelta.rho, adadelta.use_ema, float(adadelta.learning_rate)) == (0.95, True, 1)
    assert isinstance(optimizer(small("precision=mixed_float16"), 1), keras.optimizers.LossScaleOptimizer)
    plateau, stop = schedule(small("schedule=plateau", "early_stop=7"))
    assert (plateau.factor, plateau.patience, plateau.cooldown, stop.patience) == (0.3, 80, 10, 7)
    assert schedule(small()) == []


def test_keras_asks_muon_which_variables_are_matrices():
    """`Muon` overrides a private method: Keras must still have it, and go by it."""
    assert callable(keras.optimizers.Muon._should_use_adamw)
    variables = [keras.Variable(np.ones(shape, np.float32)) for shape in ((3,), (3, 4), (2, 3, 4), (1, 2, 3, 4))]
    muon = optimizer(small(f"optimizer={Optimizer.MUON}"), epochs=1)
    muon.build(variables)
    assert [velocity is not None for velocity in muon.adam_velocities] == [True, False, False, True]
