"""``python -m tlaam``."""

from tlaam.cli.main import main

raise SystemExit(main())
