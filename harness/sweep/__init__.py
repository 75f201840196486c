"""Sweeps: many pictures over axes of a generation record, durable, in batches, on one machine or many."""
