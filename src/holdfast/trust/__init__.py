"""What may enter: the TUF client workflow, the signing policy, the time floor. Pure: bytes in, verdict out, clock injected."""
