"""A tiny causal character model: token and position embeddings, masked self-attention."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(37)
rng = np.random.default_rng(37)
VOCAB, CONTEXT, WIDTH, HEADS = 27, 10, 24, 3
text = np.cumsum(rng.integers(1, 4, size=4000)) % VOCAB
windows = np.lib.stride_tricks.sliding_window_view(text, CONTEXT + 1)[::8]
x, y = torch.tensor(windows[:, :-1]), torch.tensor(windows[:, 1:])


class CausalAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.value = nn.Linear(WIDTH, WIDTH, bias=False)
        self.project = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.tril(torch.ones(CONTEXT, CONTEXT)))

    def forward(self, x):
        B, T, C = x.shape
        q = self.query(x).view(B, T, HEADS, C // HEADS).transpose(1, 2)
        k = self.key(x).view(B, T, HEADS, C // HEADS).transpose(1, 2)
        v = self.value(x).view(B, T, HEADS, C // HEADS).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (C // HEADS) ** -0.5
        att = att.masked_fill(self.mask[:T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        out = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.project(out)


class TinyGPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(VOCAB, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-3)
        self.attention = CausalAttention()
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-3)
        self.head = nn.Linear(WIDTH, VOCAB)
        self.apply(self._init)

    def _init(self, m):
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Embedding):
            nn.init.uniform_(m.weight, -0.05, 0.05)

    def forward(self, tokens, targets=None):
        h = self.token(tokens) + self.position(torch.arange(tokens.size(1)))
        h = h + self.attention(self.norm1(h))
        logits = self.head(self.norm2(h))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, VOCAB), targets.reshape(-1))
        return logits, loss


model = TinyGPT()
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
for epoch in range(3):
    for xb, yb in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True):
        _, loss = model(xb, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
