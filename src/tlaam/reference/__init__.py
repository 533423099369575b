"""The reference index: what a model learnt from, by which it tells what is out of distribution."""
