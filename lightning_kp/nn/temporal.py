"""Networks over time: windows of features (B, T, F) -> one logit per behaviour or action (B, C)."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_kp.geometry import full_precision

KERAS_EPS = 1e-3
# For the input (ours): some features, such as variances of heatmaps, vary by 1e-5, and 1e-3 would suppress them.
INPUT_EPS = 1e-8


def output_length(length: int, layers: int, kernel: int) -> int:
    """Time steps that remain of ``length`` after the blocks; below 1 the window is too short.

    >>> output_length(201, layers=3, kernel=5)
    21
    """
    for _ in range(layers):
        length = (length - kernel + 1) // 2
    return length


class WindowClassifier(nn.Module):
    """Windows (B, T, F) -> logits (B, C).

    Batch normalisation of the input comes first. Each block is a convolution over time without padding, batch
    normalisation, ReLU, max pooling over pairs of time steps, and dropout. One linear layer over all remaining
    time steps gives the logits.

    Args:
        features: Features per time step, F.
        length: Time steps per window, T.
        classes: Number of behaviours C.
        widths: Channels of the blocks.
        kernel: Time steps that a convolution covers.
        dropout: Probability of dropping a value after each block.
    """

    def __init__(
        self,
        features: int,
        length: int,
        classes: int,
        widths: Sequence[int] = (128, 64, 32),
        kernel: int = 5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features, eps=INPUT_EPS)
        blocks: list[nn.Module] = []
        for before, width in zip((features, *widths[:-1]), widths, strict=True):
            convolution = nn.Conv1d(before, width, kernel)
            blocks += [convolution, nn.BatchNorm1d(width, eps=KERAS_EPS), nn.ReLU(), nn.MaxPool1d(2)]
            blocks.append(nn.Dropout(dropout))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1] * output_length(length, len(widths), kernel), classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):  # Keras initialises them in this way
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B, T, F) -> logits (B, C)."""
        hidden: Tensor = self.blocks(self.norm(windows.transpose(1, 2)))
        logits: Tensor = self.head(hidden.flatten(1))
        return logits


class SequenceClassifier(nn.Module):
    """An LSTM whose last hidden state is classified (003, 4.6.4.4): windows (B, T, F) -> logits (B, C).

    Batch normalisation of the input comes first (ours).

    Args:
        features: Features per time step, F.
        classes: Number of classes C.
        hidden: Units of each layer.
        layers: Number of layers.
        dropout: Probability of dropping a value between layers and before the last one.
    """

    def __init__(
        self, features: int, classes: int, hidden: int = 128, layers: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features, eps=INPUT_EPS)
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True, dropout=between)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B, T, F) -> logits (B, C)."""
        with full_precision(windows):  # CPUs have no LSTM of 16 bits
            normalised = self.norm(windows.float().transpose(1, 2)).transpose(1, 2)
            _, (states, _) = self.lstm(normalised)
        logits: Tensor = self.head(states[-1])
        return logits
