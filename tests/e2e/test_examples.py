"""Each small example does what its page says."""

import asyncio
import sys

import pytest

from examples.fleet import ROOT

ENDS = {
    "examples.loan_approval": """
loan-1: COMPLETED
loan-2: COMPENSATED NOT_APPROVED
sanctioned-3: COMPENSATED SANCTIONED
""",
    "examples.order_items": """
order-1: COMPLETED
order-2: COMPENSATED SOLD_OUT
order-3: COMPENSATED OVER_LIMIT
""",
    "examples.travel": """
travel-1: Lisbon: COMPLETED air
travel-2: Vienna: COMPLETED rail
travel-3: Ghent: COMPLETED coach
travel-4: Vienna: COMPENSATED TOO_LONG
travel-5: Atlantis: COMPENSATED NO_CONNECTION
""",
}


@pytest.mark.parametrize("example", ENDS)
async def test_example_ends_as_its_page_says(example: str) -> None:
    """Run as a reader would run it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", example),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()

    assert process.returncode == 0, complained.decode()
    assert said.decode() == ENDS[example].lstrip()
