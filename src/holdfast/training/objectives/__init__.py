"""What a run minimises: the likelihood of what is learnt (``sft``, ``cpt``), or a preference between answers (``dpo``)."""
