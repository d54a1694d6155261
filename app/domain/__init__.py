"""Pure rules: enums, frozen dataclasses and functions of values. No SQL, HTTP, torch, files or clock."""
