"""The files of a home: artefacts by digest, generations, and the hashing of files on disk."""
