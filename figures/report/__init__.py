"""One page of runs, findings, figures and patterns: `write` puts it together, the other files are its parts."""
