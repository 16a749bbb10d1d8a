"""Object stores on this machine, and tests with them."""
