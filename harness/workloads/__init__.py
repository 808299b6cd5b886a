"""Who takes a turn next, one file per arrival pattern. Pure: the last outcome in, the next action out, all from the
seed.
"""
