"""Pay an invoice after a person has approved it, with a signed link, an escalation, and one payment. See README.md.

jobqueue worker approval:queue
"""

from pathlib import Path

import bank

from jobqueue import ActiveJob, JobQueue, SignalTimeoutError

queue = JobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB
DAY = 86400.0


@queue.task("invoice.pay", queue="approvals")
async def pay_invoice(
    job: ActiveJob,
    number: str,
    cents: int,
    approver: str,
    manager: str,
    patience: float = 2 * DAY,
    last: float = 7 * DAY,
) -> str:
    """Ask the approver for `patience` seconds, and then the manager for `last` seconds."""
    question = f"Pay invoice {number} over {cents / 100:.2f}?"
    answer = await ask(job, "approval", approver, question, patience)
    if answer is None:
        await job.log(f"{approver} has not answered, asking {manager}", "warning")
        answer = await ask(job, "escalation", manager, f"{question} {approver} has not answered.", last)
    if not answer:
        reason = "nobody has answered" if answer is None else "refused"
        await job.step("mail the refusal", send, approver, f"Invoice {number} is not paid: {reason}.")
        return reason
    # Once: a worker that dies here leaves a doubt, which a person ends. No other worker pays again.
    receipt = await job.step("pay", bank.pay, number, cents, once=True)
    await job.step("mail the receipt", send, approver, f"Invoice {number} is paid: {receipt}.")
    return receipt


async def ask(job: ActiveJob, name: str, person: str, question: str, patience: float) -> bool | None:
    """Mail a question, and wait for the answer without a process; return nothing if there is none in time."""
    link = await job.signal_url(
        name, title=question, choices={"Pay": True, "Refuse": False}, by=person, timeout=patience
    )
    await job.step(f"mail {name}", send, person, f"{question} {link}")
    try:
        return await job.signal(name, into=bool, timeout=patience)
    except SignalTimeoutError:
        return None


def send(person: str, text: str) -> None:
    """Write a mail into a file; it stands for your mail server."""
    with Path("mail.txt").open("a") as mails:
        mails.write(f"{person}: {text}\n")
