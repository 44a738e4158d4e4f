"Names, errors, files and random streams; data sets and batches."
