"""`python -m app`: the command line, for where the script `sage-sleep` is not on the path."""

from app.cli import app

if __name__ == "__main__":
    app(prog_name="sage-sleep")
