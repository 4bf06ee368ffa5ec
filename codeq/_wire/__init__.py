"""Messages of the two streams, generated from `proto/`: never edited by hand."""
