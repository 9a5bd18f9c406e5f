# tests/control/in_process.c asks for functions by name, which only the dynamic symbol table has in the process.
control_LDLIBS := -rdynamic
