"""A study: a matrix of trainings and extractions, declared in one file and carried out to the end.

`matrix` reads the file, `tasks` says which calls of `steps` it takes and `runner` makes them, however often it is
stopped.
"""
