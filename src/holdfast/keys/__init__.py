"""Keys of people, publishers and the appliance: generation, signatures, envelopes. Pure: bytes in, bytes out."""
