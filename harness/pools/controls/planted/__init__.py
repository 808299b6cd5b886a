"""Strategies that are wrong on purpose, to test the judge: each makes one mistake that is made in services.

They run in every campaign that nobody narrows, in the scenarios that name them. One that is not caught means that the
judge cannot be believed, and the run exits 3. The first sentence of each file is what reports show of it.
"""
