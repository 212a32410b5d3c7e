"""Lyapunov exponents of recurrent spiking networks, and pruning by Lyapunov's equation."""
