"""``python -m mmretrieval``: the command line, also for ``torchrun -m mmretrieval``."""

from mmretrieval.cli.main import main

if __name__ == "__main__":
    main()
