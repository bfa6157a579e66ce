"""A small module for Lightning's trainer, which takes seconds to import: only tests that run it load this."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn


class Module(LightningModule):
    """The loss is what the weights add up to: it is 3, then falls a little with each step."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 2)
        self.weights = nn.Parameter(torch.tensor([1.0, 2.0]))

    def training_step(self, batch, index):
        return self.weights.sum()

    def validation_step(self, batch, index):
        self.log("val_loss", self.weights.sum())

    def configure_optimizers(self):
        return torch.optim.SGD([self.weights], lr=1e-3, momentum=0.5)


class At(Callback):
    """Does something to trainer and module after a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.act(trainer, pl_module)
