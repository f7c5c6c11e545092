"""The training room: recipes, run manifests, and the run itself.

``spec``, ``crosscheck`` and ``manifest`` are pure and may be imported by anyone. From there the way goes ``material`` (data sets to
rows, by ``tokens``, ``packing`` and ``rows``), ``tuning`` and ``targets`` (what of a base is trained), ``objectives`` and ``trainer``
(how), ``product`` (what comes out); ``run`` puts them in order. They need the training libraries and are imported by workers alone.
"""
