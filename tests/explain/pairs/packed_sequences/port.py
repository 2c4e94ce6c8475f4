"""LSTM seq2seq in Lightning.  Batches are padded to their own longest string by the collate function."""
import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from torch.utils.data import DataLoader

PAD, BOS, EOS, OFFSET = 0, 1, 2, 3
VOCAB, MAX_LEN, UNITS, EMB = 13, 7, 40, 20


def load_pairs():
    rng = np.random.default_rng(2024)
    sources = [rng.integers(0, 10, rng.integers(3, MAX_LEN + 1)) for _ in range(600)]
    pairs = []
    for s in sources:
        t = (s[::-1] + 1) % 10
        pairs.append((torch.as_tensor(s + OFFSET), torch.as_tensor(t + OFFSET)))
    return pairs


def collate(pairs):
    bos, eos = torch.tensor([BOS]), torch.tensor([EOS])
    src = [s for s, _ in pairs]
    tgt_in = pad_sequence([torch.cat([bos, t]) for _, t in pairs], batch_first=True, padding_value=PAD)
    tgt_out = pad_sequence([torch.cat([t, eos]) for _, t in pairs], batch_first=True, padding_value=PAD)
    return src, tgt_in, tgt_out


@torch.no_grad()
def keras_lstm_init(rnn):
    for name, p in rnn.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(p)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(p)
        elif name.startswith("bias_hh"):
            p.zero_().requires_grad_(False)
        else:
            p.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(UNITS))


class Seq2Seq(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.src_emb = nn.Embedding(VOCAB, EMB)
        self.tgt_emb = nn.Embedding(VOCAB, EMB)
        self.encoder = nn.LSTM(EMB, UNITS)
        self.decoder = nn.LSTMCell(EMB, UNITS)
        self.project = nn.Linear(UNITS, VOCAB)
        for emb in (self.src_emb, self.tgt_emb):
            nn.init.uniform_(emb.weight, -0.05, 0.05)
        keras_lstm_init(self.encoder)
        keras_lstm_init(self.decoder)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, src, tgt_in):
        packed = pack_sequence([self.src_emb(s) for s in src], enforce_sorted=False)
        _, (h, c) = self.encoder(packed)
        h, c = h.squeeze(0), c.squeeze(0)
        logits = []
        for token in tgt_in.T:
            h, c = self.decoder(self.tgt_emb(token), (h, c))
            logits.append(self.project(h))
        return torch.stack(logits, dim=2)  # (batch, vocabulary, time)

    def _shared_step(self, batch, prefix):
        src, tgt_in, tgt_out = batch
        logits = self(src, tgt_in)
        loss = F.cross_entropy(logits, tgt_out, ignore_index=PAD)
        keep = tgt_out != PAD
        acc = (logits.argmax(1) == tgt_out)[keep].float().mean()
        self.log(f"{prefix}loss", loss, on_step=False, on_epoch=True, batch_size=int(keep.sum()))
        self.log(f"{prefix}acc", acc, on_step=False, on_epoch=True, batch_size=int(keep.sum()))
        return loss

    def training_step(self, batch, _):
        return self._shared_step(batch, "")

    def validation_step(self, batch, _):
        self._shared_step(batch, "val_")

    def configure_optimizers(self):
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.01, eps=1e-7)


class Report(L.Callback):
    def on_train_epoch_end(self, trainer, module):
        print(trainer.current_epoch, {k: f"{v:.4f}" for k, v in trainer.callback_metrics.items()})


if __name__ == "__main__":
    L.seed_everything(2024)
    pairs = load_pairs()
    trainer = L.Trainer(
        max_epochs=12, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[Report()],
    )
    trainer.fit(
        Seq2Seq(),
        DataLoader(pairs[:540], batch_size=50, shuffle=True, collate_fn=collate),
        DataLoader(pairs[540:], batch_size=50, collate_fn=collate),
    )
