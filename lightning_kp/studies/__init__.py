"""Studies: comparisons of many trainings, each started by ``python -m lightning_kp.studies.NAME``.

``label_efficiency`` (with ``label_halves``, its data, and ``label_curves``, its plot), ``fusion_table``, ``scenes``,
``mean_pose``, ``resting`` and ``counting`` (no training: backgrounds, numbers of animals) can be started; ``trainings``
holds what they share.
"""
