"""The data room: training examples as people bring them, read strictly, and what can be said about them. Pure."""
