"""Events -> a person: log lines, bars, tables, timings."""
