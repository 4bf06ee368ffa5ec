"""`codeq webhook …`: webhooks that were not delivered, and sending them again."""

import argparse

from appliance.cli import status
from appliance.cli.remote.letters import before_of, print_count, says_which
from appliance.cli.remote.output import plain, print_json, print_table
from appliance.cli.remote.session import PAGE_ITEMS, Session, run


def run_list(arguments: argparse.Namespace) -> int:
    """Print deliveries."""

    def action(session: Session) -> int:
        deliveries = session.pages(
            lambda limit, cursor: session.admin.webhooks(
                arguments.state, limit=limit, cursor=cursor, tenant=session.tenant
            )
        )
        if session.as_json:
            for each in deliveries:
                print_json(each.fields)
            return status.OK
        print_table(
            ("DELIVERY", "TASK", "URL", "ATTEMPTS", "NEXT", "GIVEN UP", "ERROR"),
            (
                (each.delivery_id, each.task_id, each.url, each.attempts, each.next_at, each.given_up_at,
                 each.last_error)
                for each in deliveries
            ),
        )  # fmt: skip
        return status.OK

    return run(arguments, action)


def run_retry(arguments: argparse.Namespace) -> int:
    """Send deliveries again."""
    if not says_which(arguments, named=False):
        return status.USAGE
    before = before_of(arguments)

    def action(session: Session) -> int:
        if not arguments.id:
            done = session.steps(
                "retried",
                lambda limit: session.admin.retry_webhooks(before=before, limit=limit, tenant=session.tenant),
                PAGE_ITEMS,
            )
            return print_count(session, "retried", done)
        for delivery_id in arguments.id:
            session.admin.retry_webhook(delivery_id, tenant=session.tenant)
            if session.as_json:
                print_json({"deliveryId": delivery_id, "status": "retried"})
            else:
                print(f"{plain(delivery_id)} retried")
        return status.OK

    return run(arguments, action)
