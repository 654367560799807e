"""The vocabulary of the mesh: pure values that every platform and every rule speaks. No behaviour, no I/O."""
