"""From `reviews v1=90 v2=10` to the documents that make it so, with as little change to what is stored as possible.

Pure: takes what is stored, gives what shall be. What it would have to guess at it refuses, and says why.
"""
