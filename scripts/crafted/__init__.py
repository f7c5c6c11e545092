"""Files made by hand, right ones and wrong ones, for the vectors and for tests: each format's bytes without its library."""
