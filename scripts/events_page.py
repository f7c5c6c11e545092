"""Write docs/events.md, the page of everything that the audit log records, from the registry.

python scripts/events_page.py          writes the page
python scripts/events_page.py --check  exits 1 if the page is not what the registry says
"""

from __future__ import annotations

import sys
from pathlib import Path

from holdfast.audit import catalogue

PAGE = Path(__file__).resolve().parent.parent / "docs" / "events.md"


def main() -> int:
    """Run the command line; see the module's description."""
    page = catalogue.markdown()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} is not what the registry says; write it with: python scripts/events_page.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
