"""The command line: argv -> a run -> exit status."""
