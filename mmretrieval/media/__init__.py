"""Files to arrays and back: decoding, sound, sampling in time, sizing, sub-word tokens."""
