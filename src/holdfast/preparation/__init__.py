"""The preparation room: data files read, compared and split, in a confined worker or a bounded child. Workers import it alone."""
