# unused
