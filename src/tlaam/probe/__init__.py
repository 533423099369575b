"""What a linear classifier makes of frozen features: the start of every training, its floor and its rival."""
