"""transformers.Trainer with advised settings and a row of the run table; seconds on a CPU, no network.

python docs/examples/transformers_trainer.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from bayeslaw.integrations import parameter_counts, recommended, training_arguments
from bayeslaw.integrations.for_transformers import BayeslawCallback

VOCABULARY, LENGTH, SEQUENCES, STEPS = 64, 32, 16, 40
BATCH_TOKENS = SEQUENCES * LENGTH


def examples(count: int) -> list[dict[str, torch.Tensor]]:
    """Arithmetic progressions: what follows can be learnt."""
    start, step = torch.randint(VOCABULARY, (count, 1)), torch.randint(1, 4, (count, 1))
    tokens = (start + step * torch.arange(LENGTH)) % VOCABULARY
    return [{"input_ids": row, "labels": row} for row in tokens]


def main(folder: str) -> None:
    """Train once; the record goes to the folder."""
    torch.set_num_threads(1)  # a toy: threads cost more than they save
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    params = parameter_counts(model)["params_nonembedding"]
    advice = recommended(params, STEPS * BATCH_TOKENS, "adamw", batch_tokens=BATCH_TOKENS)
    with (
        tempfile.TemporaryDirectory() as output,
        BayeslawCallback(folder, study="toy", sequence_length=LENGTH) as callback,
    ):
        arguments = TrainingArguments(
            output,
            **training_arguments(advice, STEPS, warmup_steps=4),
            per_device_train_batch_size=SEQUENCES,
            eval_strategy="steps",
            eval_steps=STEPS,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        Trainer(
            model,
            arguments,
            train_dataset=examples(STEPS * SEQUENCES),
            eval_dataset=examples(64),
            callbacks=[callback],
        ).train()
    assert callback.recorder is not None
    print(f"{callback.recorder.path}: {callback.recorder.row['status']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "out/toy")
