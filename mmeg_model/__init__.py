"""The network, its data and its training. Imports no Beam, and this file no torch."""
