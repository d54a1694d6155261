"""Pages for a person: the console, the guide, the reports, the interactive documentation."""
