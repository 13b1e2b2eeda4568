"""What a job is: pure values and rules, standard library only, no I/O and no clock."""
