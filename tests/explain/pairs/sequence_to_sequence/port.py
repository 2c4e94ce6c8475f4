import numpy as np
import torch
from torch import nn

torch.manual_seed(1)
VOCAB, DIM, HEADS, LENGTH = 20, 16, 2, 6
rng = np.random.default_rng(0)
source = torch.from_numpy(rng.integers(1, VOCAB, (256, LENGTH)))
target = source.flip(1)
target_in = torch.cat([torch.ones((256, 1), dtype=torch.long), target[:, :-1]], dim=1)


class Positional(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, DIM)
        self.positions = nn.Embedding(LENGTH, DIM)
        for table in (self.tokens, self.positions):
            nn.init.uniform_(table.weight, -0.05, 0.05)

    def forward(self, x):
        return self.tokens(x) + self.positions(torch.arange(LENGTH))


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Positional()
        self.embed = Positional()
        self.decoder = nn.TransformerDecoderLayer(DIM, HEADS, dim_feedforward=32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(DIM, VOCAB)

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        hidden = self.decoder(self.embed(target), self.encoder(source), tgt_mask=mask)
        return self.head(hidden)


model = Seq2Seq()
for name, p in model.named_parameters():
    if p.dim() > 1 and "encoder." not in name and "embed." not in name:
        nn.init.xavier_uniform_(p)
    elif "bias" in name:
        nn.init.zeros_(p)
for attention in (model.decoder.self_attn, model.decoder.multihead_attn):
    for part in attention.in_proj_weight.data.chunk(3):
        nn.init.xavier_uniform_(part)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(2):
    order = torch.randperm(256)
    for i in range(0, 256, 32):
        batch = order[i : i + 32]
        logits = model(source[batch], target_in[batch])
        loss = loss_fn(logits.transpose(1, 2), target[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(loss.item())
