"""Pure rules: enums, frozen dataclasses, functions of values. No SQL, HTTP, torch or files."""
