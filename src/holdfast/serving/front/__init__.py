"""The front: the process between applications and engines. It holds keys and the way to the log, and no model.

A request goes ``listener`` (connections and their bounds) → ``protocol`` (HTTP and its times) → ``gate`` (who asks, and for what) →
``serving.api`` (what is asked) → ``desk`` (a place, the key's quota) → ``life`` (the intent, the engine's answer, the outcome) →
``engines`` (the link to the process that computes). ``routing`` says which engine and lane a model id means, ``places`` who may
come in, ``said`` whether what an engine says can be, ``acts`` and ``record`` what the log is told. ``house`` puts it together.
"""
