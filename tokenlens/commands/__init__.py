"""The base's commands, one a file; `pyproject.toml` names them as entry points, as it does those of the wings."""
