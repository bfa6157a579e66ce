"""Which parts of the law a sweep supports: structures fitted to small cells and scored on larger ones."""
