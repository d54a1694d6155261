"""Files that people have: what other tools and the older scripts wrote, read as exchanges.

`sources` and `records` bring a file's values one at a time, `formats` says what each is, one module
per format turns it into exchanges, and `reading` is the whole way. Must not know the database nor
instances: `app.services.importing` puts in what is read here.
"""
