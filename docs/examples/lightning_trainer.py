"""lightning.pytorch with advised settings and a row of the run table; seconds on a CPU, no network.

python docs/examples/lightning_trainer.py [FOLDER]
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from bayeslaw.integrations import Advice, lr_multiplier, optimizer_settings, parameter_counts, recommended
from bayeslaw.integrations.for_lightning import BayeslawCallback

VOCABULARY, WIDTH, LENGTH, SEQUENCES, STEPS, WARMUP = 64, 32, 32, 16, 40, 4
BATCH_TOKENS = SEQUENCES * LENGTH


class Module(LightningModule):
    """An embedding, a layer and a tied head: enough of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)  # it is the head too
        self.inner = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.advice: Advice | None = None

    def training_step(self, tokens: Tensor, index: int) -> Tensor:
        """Cross-entropy of each next token [nats]."""
        features = self.embedding(tokens[:, :-1])
        logits = (features + self.inner(features)) @ self.embedding.weight.T
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def validation_step(self, tokens: Tensor, index: int) -> None:
        """The same, logged under the name that the callback reads."""
        self.log("val_loss", self.training_step(tokens, index))

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW and a cosine, as advised."""
        assert self.advice is not None
        optimizer = torch.optim.AdamW(self.parameters(), **optimizer_settings(self.advice))
        scheduler = LambdaLR(optimizer, lr_multiplier(STEPS, warmup_steps=WARMUP))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def sequences(count: int) -> Tensor:
    """Arithmetic progressions: what follows can be learnt."""
    start, step = torch.randint(VOCABULARY, (count, 1)), torch.randint(1, 4, (count, 1))
    return (start + step * torch.arange(LENGTH + 1)) % VOCABULARY


def main(folder: str) -> None:
    """Train once; the record goes to the folder."""
    torch.set_num_threads(1)  # a toy: threads cost more than they save
    torch.manual_seed(0)
    module = Module()
    params = parameter_counts(module)["params_nonembedding"]
    module.advice = recommended(params, STEPS * BATCH_TOKENS, "adamw", batch_tokens=BATCH_TOKENS)
    callback = BayeslawCallback(
        folder,
        study="toy",
        batch_tokens=BATCH_TOKENS,
        sequence_length=LENGTH,
        schedule="cosine",
        warmup_tokens=WARMUP * BATCH_TOKENS,
        final_lr_ratio=0.1,
        seed=0,
    )
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    )
    trainer.fit(
        module,
        DataLoader(sequences(STEPS * SEQUENCES), SEQUENCES),
        DataLoader(sequences(64), 64),
    )
    assert callback.recorder is not None
    print(f"{callback.recorder.path}: {callback.recorder.row['status']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "out/toy")
