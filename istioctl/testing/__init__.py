"""A mesh for tests: a true Manager over true gRPC, real Envoys, and applications that say what reached them."""
