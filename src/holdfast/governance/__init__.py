"""Who may do what, and how what is derived is labelled. Pure: no I/O, clock injected."""
