"""A study: a matrix of trainings and extractions, declared in one file and carried out to the end.

`matrix` reads the file, `tasks` says which commands it takes and `runner` carries them out, however often it is
stopped.
"""
