"""`python -m rt2data` is the command."""

from rt2data.cli.app import main

if __name__ == "__main__":
    main()
