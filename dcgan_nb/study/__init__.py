"Claims, what must be run to judge them, and the verdicts."
