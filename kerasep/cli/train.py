"""`kerasep train`: a run of a recipe on MUSDB18."""

import argparse
from pathlib import Path

from kerasep.cli.console import quiet_tensorflow
from kerasep.cli.options import Commands, add_command
from kerasep.errors import UsageError


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "train", run, "Train a network for one target, or for several together, on MUSDB18")
    parser.add_argument("--recipe", default="conv-norm", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--target", required=True, nargs="+", choices=("vocals", "drums", "bass", "other"))
    parser.add_argument("--root", type=Path, required=True, nargs="+", metavar="DIR", help="MUSDB18 or MUSDB18-HQ folders")
    parser.add_argument("-o", "--output", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe, as in --set batch=16"
    )
    parser.add_argument("--start", type=Path, metavar="RUN", help="start from the weights of another run, trained or imported")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder, whatever stopped it")
    parser.add_argument("--devices", type=int, metavar="N", help="GPUs that share a batch (default: one)")
    parser.add_argument(
        "--stems-on-device", action="store_true", help="keep all songs in the device's memory: 10 MB for a minute of a stem"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write for TensorBoard too, into RUN/tensorboard")
    parser.add_argument("--dry-run", action="store_true", help="describe the run after ten steps of it; write nothing")


def run(arguments: argparse.Namespace) -> int:
    from kerasep.training.recipe import RECIPES

    if arguments.recipe not in RECIPES:
        raise UsageError(f"unknown recipe {arguments.recipe!r}: choose from {', '.join(RECIPES)}")
    recipe = RECIPES[arguments.recipe].override(arguments.set)
    targets = tuple(dict.fromkeys(arguments.target))
    quiet_tensorflow()
    from kerasep.training import engine
    from kerasep.training.trainer import dry_run, train

    devices = engine.devices() if arguments.devices is None else arguments.devices
    print(f"{recipe.name}: {engine.surroundings(devices)}")
    if arguments.dry_run:
        print(dry_run(recipe, targets, arguments.root, arguments.seed, devices, arguments.stems_on_device))
        return 0
    if arguments.output is None:
        raise UsageError("name the run's folder with -o, or try it with --dry-run")
    record = train(
        recipe,
        targets,
        arguments.root,
        arguments.output,
        seed=arguments.seed,
        resume=arguments.resume,
        devices=devices,
        tensorboard=arguments.tensorboard,
        start=arguments.start,
        stems_on_device=arguments.stems_on_device,
    )
    best = record["best"]
    if "targets" not in best:
        print(f"{arguments.output}: no epoch of {len(record['epochs'])} had a validation SNR, so no weights were kept")
        return 0
    values = ", ".join(f"{target} {value:.2f} dB" for target, value in best["targets"].items())
    print(f"{arguments.output}: best after epoch {best['epoch']} of {len(record['epochs'])}: validation SNR {values}")
    return 0
