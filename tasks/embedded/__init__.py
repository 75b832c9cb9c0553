"""Models and templates that work with no key and no network. Nothing heavy is imported before its first use."""
