"""Sentences of different lengths, padded with 0; packed, so that the LSTM never sees the padding."""
import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(31)
rng = np.random.default_rng(31)
VOCAB = 60
tokens = rng.integers(1, VOCAB, size=(500, 16))
lengths = rng.integers(5, 17, size=500)
tokens[np.arange(16)[None] >= lengths[:, None]] = 0
classes = tokens[:, 0] % 3


class Tagger(nn.Module):
    def __init__(self, hidden=10):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 12)
        self.lstm = nn.LSTM(12, hidden, batch_first=True, bidirectional=True)
        self.classify = nn.Linear(2 * hidden, 3)
        nn.init.uniform_(self.embed.weight, -0.05, 0.05)
        nn.init.xavier_uniform_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
                if name.startswith("bias_ih"):
                    parameter.data[hidden : 2 * hidden] = 1  # forget gate
                else:
                    parameter.requires_grad_(False)

    def forward(self, tokens):
        lengths = (tokens != 0).sum(dim=1)
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        return self.classify(torch.cat([h[0], h[1]], dim=1))


loader = DataLoader(TensorDataset(torch.tensor(tokens), torch.tensor(classes)), batch_size=20, shuffle=True)
tagger = Tagger()
optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, tagger.parameters()), lr=0.5)
criterion = nn.CrossEntropyLoss()
for epoch in range(4):
    correct = 0
    for xb, yb in loader:
        scores = tagger(xb)
        loss = criterion(scores, yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct += (scores.argmax(1) == yb).sum().item()
    print(f"epoch {epoch + 1} loss {loss.item():.4f} accuracy {correct / 500:.3f}")
