"""Evaluation: how well a trained model classifies and localises."""
