"""The sections of the console (one per part of the work), and the dialogs that lie over them."""
