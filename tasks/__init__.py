"""WHAT is done: the AI work, one module a pipeline. Tasks know no graph and no retries."""
