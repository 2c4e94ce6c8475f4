"""Next value of a noisy sine with two LSTM layers."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(13)
rng = np.random.default_rng(13)
t = np.arange(900)
series = np.sin(t / 9.0) + 0.1 * rng.normal(size=len(t))
windows = torch.tensor(series, dtype=torch.float32).unfold(0, 25, 1)
x, y = windows[:, :-1].unsqueeze(-1), windows[:, -1:]
train = DataLoader(TensorDataset(x[:704], y[:704]), batch_size=32, shuffle=True)
val_x, val_y = x[704:], y[704:]


def init_lstm(lstm, units):
    """Glorot, orthogonal, and a forget gate that starts open; Keras has one bias, so the second stays at zero."""
    nn.init.xavier_uniform_(lstm.weight_ih_l0)
    nn.init.orthogonal_(lstm.weight_hh_l0)
    nn.init.zeros_(lstm.bias_ih_l0)
    nn.init.zeros_(lstm.bias_hh_l0)
    with torch.no_grad():
        lstm.bias_ih_l0[units : 2 * units].fill_(1.0)
    lstm.bias_hh_l0.requires_grad = False


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn1 = nn.LSTM(1, 20, batch_first=True)
        self.rnn2 = nn.LSTM(20, 12, batch_first=True)
        self.head = nn.Linear(12, 1)
        init_lstm(self.rnn1, 20)
        init_lstm(self.rnn2, 12)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        x, _ = self.rnn1(x)
        x, _ = self.rnn2(x)
        return self.head(x[:, -1])


model = Forecaster()
criterion = nn.HuberLoss(delta=0.5)
optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.8)
for epoch in range(4):
    model.train()
    for xb, yb in train:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(epoch, loss.item(), (model(val_x) - val_y).abs().mean().item())
