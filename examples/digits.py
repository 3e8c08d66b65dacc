"""Trains one small neural network on handwritten digits, with NumPy alone, and logs it.

python examples/digits.py --learning-rate 0.1 --width 32
"""

import argparse
import csv
import gzip
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import runlore

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

BATCH = 32
LEAK = 0.1
EVALUATE_EVERY = 25


class Network:
    """One hidden layer of leaky rectified units, trained by plain gradient descent."""

    def __init__(self, width: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.hidden: Array = random.normal(0, (2 / 64) ** 0.5, (64, width))
        self.hidden_bias: Array = np.zeros(width)
        self.output: Array = random.normal(0, (2 / width) ** 0.5, (width, 10))
        self.output_bias: Array = np.zeros(10)

    def score(self, pictures: Array, labels: Labels) -> tuple[float, float]:
        """Return loss and accuracy."""
        _, log_chances = self._forward(pictures)
        loss = -log_chances[np.arange(len(labels)), labels].mean()
        return float(loss), float((log_chances.argmax(axis=1) == labels).mean())

    def learn(self, pictures: Array, labels: Labels, rate: float) -> float:
        """Take one step downhill and return the length of the gradient."""
        active, log_chances = self._forward(pictures)
        error = np.exp(log_chances)
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        hidden_error = (error @ self.output.T) * np.where(active > 0, 1, LEAK)
        slopes = (
            (self.hidden, pictures.T @ hidden_error),
            (self.hidden_bias, hidden_error.sum(axis=0)),
            (self.output, active.T @ error),
            (self.output_bias, error.sum(axis=0)),
        )
        for weights, slope in slopes:
            weights -= rate * slope
        return float(np.sqrt(sum((slope**2).sum() for _, slope in slopes)))

    def _forward(self, pictures: Array) -> tuple[Array, Array]:
        weighed = pictures @ self.hidden + self.hidden_bias
        active = np.maximum(weighed, LEAK * weighed)
        logits = active @ self.output + self.output_bias
        logits -= logits.max(axis=1, keepdims=True)
        return active, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def load_digits() -> tuple[Array, Labels]:
    """Read 1,797 pictures of 8 by 8 pixels and the digit that each shows."""
    with gzip.open(Path(__file__).with_name("digits.csv.gz"), "rt") as file:
        table = np.array([[int(cell) for cell in row] for row in csv.reader(file)])
    return table[:, :64] / 16.0, table[:, 64]


def main() -> None:
    """Train, and log what happens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", help="name of the run")
    parser.add_argument("--id", help="id of the run, to continue one or to find it again")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--width", type=int, default=32, help="units of the hidden layer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two steps")
    options = parser.parse_args()

    pictures, labels = load_digits()
    order = np.random.default_rng(options.seed).permutation(len(labels))
    training, held_out = order[:1437], order[1437:]
    network = Network(options.width, options.seed)

    with runlore.init(
        project="digits",
        id=options.id,
        name=options.name,
        config={
            "learning_rate": options.learning_rate,
            "width": options.width,
            "seed": options.seed,
            "batch": BATCH,
        },
        tags=["demo", "numpy"],
    ) as run:
        random = np.random.default_rng(options.seed)
        best = 0.0
        # One of the demo's networks diverges on purpose: its numbers overflow and become NaN.
        with np.errstate(all="ignore"):
            for step in range(options.steps):
                batch = random.choice(training, BATCH, replace=False)
                loss, accuracy = network.score(pictures[batch], labels[batch])
                slope = network.learn(pictures[batch], labels[batch], options.learning_rate)
                row = {"train/loss": loss, "train/accuracy": accuracy, "gradient": slope}
                if step % EVALUATE_EVERY == 0 or step == options.steps - 1:
                    loss, accuracy = network.score(pictures[held_out], labels[held_out])
                    best = max(best, accuracy)
                    row |= {"eval/loss": loss, "eval/accuracy": accuracy}
                run.log(row, step=step)
                time.sleep(options.pause)
        run.summary["best_accuracy"] = best


if __name__ == "__main__":
    main()
