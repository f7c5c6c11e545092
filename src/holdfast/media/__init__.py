"""The medium: what it holds, how it is made, read, verified and taken in. Its format is described in ``bundles/SPEC.md``."""
