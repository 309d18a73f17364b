"""Measures what a point needs: FLOPs by four counters, memory by tracing, time by running.

Read flops -> counters, memory_trace.  What needs no torch is elsewhere: model_zoo/*_counts.py, scaling/predicting/.
"""
