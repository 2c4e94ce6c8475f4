"""The same in PyTorch."""
import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(29)
words = torch.from_numpy(rng.integers(1, 100, (400, 15)))
tags = torch.from_numpy(rng.integers(0, 7, (400, 15)))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 20)
        self.lstm = nn.LSTM(20, 12, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(12, 16)
        self.out = nn.Linear(16, 7)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        for layer in (self.hidden, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for name, parameter in self.lstm.named_parameters():
            if "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
            elif "weight_hh" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
                if "bias_ih" in name:
                    parameter.data[12:24] = 1
                else:
                    parameter.requires_grad = False

    def forward(self, tokens):
        h, _ = self.lstm(self.embedding(tokens))
        h = h[..., :12] + h[..., 12:]
        if self.training:
            h = h + 0.1 * torch.randn_like(h)
        return self.out(torch.tanh(self.hidden(h)))


model = Tagger()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
criterion = nn.CrossEntropyLoss()
for epoch in range(3):
    for i in torch.randperm(400).split(40):
        optimizer.zero_grad()
        loss = criterion(model(words[i]).view(-1, 7), tags[i].view(-1))
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
