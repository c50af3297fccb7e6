"""Results and the pages made from them: a report of a machine, the tables of README.md and docs/."""
