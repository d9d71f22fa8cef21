"""``python -m canaryd``: the command line, without an installed script."""

from canaryd.cli.main import main

if __name__ == "__main__":
    main()
