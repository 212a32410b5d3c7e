"""Recurrent networks: one pruned before training, and many compared."""
