# tests/browser/evil.c must have its name from the symbol table only: no debug information.
browser_CFLAGS := -g0
