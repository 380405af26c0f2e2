"""Manifests to batches: samples, the preprocessing of a model, data sets and the cache of decoded clips."""
