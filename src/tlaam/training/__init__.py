"""Training: exact batch order, augmentation, loss, loop, checkpoints and the run folder.

Everything random is a pure function of (seed, step), so a run that is killed and resumed gives, on CPU with the same
number of threads, the weights of the uninterrupted run bit for bit. Nothing is imported here, to keep ``--help`` quick.
"""
