# Unit tests of a program that look for leaks at the end of each (docs/ci.md).
verify_LDLIBS := -lcmocka -rdynamic
