"""What was found, as it is sent: rows and views as wire models, streams, ranges of bytes."""
