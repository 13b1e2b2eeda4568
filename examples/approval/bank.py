"""The bank; it stands for yours. A line in bank.jsonl is a payment."""

import json
import os
import time
from pathlib import Path

from jobqueue import NotDone


def pay(number: str, cents: int) -> str:
    """Pay, and return the receipt.

    Raises:
        NotDone: certainly nothing was paid. Any other exception would leave that open.
    """
    if Path("bank-closed").exists():
        raise NotDone("the bank is closed")
    with Path("bank.jsonl").open("a") as payments:
        payments.write(json.dumps({"number": number, "cents": cents}) + "\n")
    time.sleep(float(os.environ.get("BANK_SECONDS", "0")))
    return f"receipt-{number}"
