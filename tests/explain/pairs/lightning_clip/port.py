"""Wine quality, sort of: SGD with clipped gradients and a rate that halves each epoch."""
import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class WineData(pl.LightningDataModule):
    def setup(self, stage=None):
        rng = np.random.default_rng(83)
        x = rng.normal(size=(1000, 11)).astype("float32")
        score = x @ rng.normal(size=11)
        y = np.digitize(score, np.quantile(score, [0.2, 0.4, 0.6, 0.8]))
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        self.train = TensorDataset(x[:800], y[:800])
        self.val = TensorDataset(x[800:], y[800:])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=50, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=50)


class Wine(pl.LightningModule):
    def __init__(self):
        super().__init__()
        blocks = []
        width = 11
        for units in (64, 64, 32):
            blocks += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(0.1)]
            width = units
        self.net = nn.Sequential(*blocks, nn.Linear(width, 5))
        for m in self.net:
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self.net(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}


pl.seed_everything(83)
trainer = pl.Trainer(
    max_epochs=5,
    gradient_clip_val=1.0,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
)
trainer.fit(Wine(), datamodule=WineData())
print({name: float(value) for name, value in trainer.callback_metrics.items()})
