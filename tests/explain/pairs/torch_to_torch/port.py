"""After the refactoring: Lightning."""
import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.fc1 = nn.Linear(16, width)
        self.norm = nn.BatchNorm1d(width)
        self.fc2 = nn.Linear(width, 2)

    def forward(self, x):
        x = F.gelu(self.norm(self.fc1(x)))
        x = F.dropout(x, 0.2, self.training)
        return self.fc2(x)


class Task(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.net(x), y, label_smoothing=0.05)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.net.parameters(), lr=3e-3, weight_decay=0.05)

    def train_dataloader(self):
        rng = np.random.default_rng(101)
        x = torch.tensor(rng.normal(size=(640, 16)), dtype=torch.float32)
        y = (x[:, :4].prod(dim=1) > 0).long()
        return DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)


L.seed_everything(101)
trainer = L.Trainer(max_epochs=4, gradient_clip_val=2.0, accelerator="cpu", logger=False,
                    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer.fit(Task())
