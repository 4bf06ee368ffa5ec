"""What operators do in the console, each in a real browser against a real node."""

import json
import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.operator import Operator, token
from tests.e2e.node import Node

Picture = Callable[[Operator, str], None]

SECONDS = 20_000


def test_queues_are_shown_live_with_depths_and_rates(operator: Operator, picture: Picture) -> None:
    user = operator.user
    user.created("email.send", 1)
    for number in range(7):
        user.created("report.render", number)
    user.created("report.render", "later", delaySeconds=600)
    user.claimed("report.render")
    operator.dead_letters("invoice.print", 3)
    operator.sign_in()
    expect(operator.cell("report.render", "Ready")).to_have_text("6")
    expect(operator.cell("report.render", "Delayed")).to_have_text("1")
    expect(operator.cell("report.render", "In progress")).to_have_text("1")
    expect(operator.cell("invoice.print", "Dead")).to_have_text("3")
    expect(operator.cell("email.send", "Created/s")).to_have_text("0", timeout=SECONDS)
    for number in range(20):
        user.created("email.send", number)
    expect(operator.cell("email.send", "Ready")).to_have_text("21", timeout=SECONDS)
    expect(operator.cell("email.send", "Created/s")).not_to_have_text("0")
    expect(operator.cell("email.send", "Oldest ready")).to_contain_text(" s")
    assert operator.page.title() == "Queues – codeq"
    picture(operator, "queues")


def test_a_filter_leaves_the_queues_that_fit(operator: Operator) -> None:
    for command in ("email.send", "email.bounce", "report"):
        operator.user.created(command)
    operator.sign_in()
    operator.row("report").wait_for()
    operator.page.get_by_label("Filter").fill("EMAIL")
    expect(operator.page.get_by_role("row")).to_have_count(3)
    expect(operator.page.get_by_text("2 queues: 2 ready")).to_be_visible()
    operator.page.get_by_label("Filter").fill("nothing like it")
    expect(operator.page.get_by_text("No queue is here")).to_be_visible()


def test_a_queue_shows_its_tasks_by_status(operator: Operator) -> None:
    user = operator.user
    waiting = user.created("work", "x", priority=1)["id"]
    done = user.created("work", "y", priority=9)["id"]
    user.act("result", user.claimed("work")["id"], status="COMPLETED")
    operator.at("queue/work")
    operator.page.get_by_role("link", name=waiting).wait_for()
    expect(operator.page.get_by_role("link", name=done)).to_have_count(0)
    operator.page.get_by_label("Status").select_option("Completed")
    operator.page.get_by_role("link", name=done).click()
    operator.heading(f"Task {done}").wait_for()
    operator.page.go_back()
    operator.page.get_by_label("Status").select_option("Delayed")
    expect(operator.page.get_by_text("There is none.")).to_be_visible()


def test_a_long_list_goes_on(operator: Operator) -> None:
    items = [{"command": "many", "payload": number} for number in range(130)]
    operator.user.post("/tasks/batch", items, token=operator.user.producer)
    operator.at("queue/many")
    expect(operator.page.get_by_role("row")).to_have_count(101)
    operator.press("More")
    expect(operator.page.get_by_role("row")).to_have_count(131)
    expect(operator.page.get_by_role("button", name="More")).to_be_hidden()


def test_a_queue_is_paused_until_a_time_and_resumed(operator: Operator) -> None:
    operator.user.created("work")
    operator.at("queue/work")
    operator.page.get_by_label("What").select_option("intake (creates are refused)")
    operator.page.get_by_label("Until").fill("2037-01-02T03:04:05")
    operator.press("Pause")
    operator.sees("work is paused: intake.")
    expect(operator.page.get_by_text("Paused: intake until 2037-01-02 03:04:05Z")).to_be_visible()
    assert operator.user.create("work").json()["code"] == "queue-paused"
    operator.press("Resume")
    operator.sees("work is resumed")
    expect(operator.page.get_by_text("Paused: intake")).to_have_count(0)
    operator.page.get_by_label("What").select_option("both")
    operator.page.get_by_label("Until").fill("")
    operator.press("Pause")
    expect(operator.page.get_by_text("Paused: dispatch, intake")).to_be_visible()
    assert operator.admin("/queues/work")["paused"]["dispatch"]


def test_a_task_is_shown_with_its_history_and_numbers_as_they_were_sent(operator: Operator, picture: Picture) -> None:
    body = b'{"command":"work","payload":{"order":12345678901234567890,"note":"a\\"b","none":[],"rate":1.0}}'
    task = operator.user.post("/tasks", body, token=operator.user.producer).json()["id"]
    held = operator.user.claimed("work", workerId="w-7")
    operator.user.act("result", held["id"], status="COMPLETED", result={"ok": True}, workerId="w-7")
    operator.at("task")
    operator.page.get_by_label("Id of the task").fill(task)
    operator.page.keyboard.press("Enter")
    expect(operator.page.get_by_label("payload")).to_have_text(
        '{\n  "order": 12345678901234567890,\n  "note": "a\\"b",\n  "none": [],\n  "rate": 1.0\n}'
    )
    expect(operator.page.get_by_label("result")).to_have_text('{\n  "ok": true\n}')
    for event in ("created", "claimed", "completed"):
        expect(operator.page.get_by_role("cell", name=event, exact=True)).to_be_visible()
    expect(operator.row("claimed")).to_contain_text("w-7")
    assert operator.page.get_by_role("button", name="Cancel the task").count() == 0
    picture(operator, "task")


def test_a_claimed_task_is_cancelled_after_a_question(operator: Operator) -> None:
    operator.user.created("work")
    held = operator.user.claimed("work")
    operator.at(f"task/{held['id']}")
    operator.page.get_by_label("Reason").fill("not wanted")
    operator.press("Cancel the task")
    operator.answer("No, go back")
    assert operator.user.task(held["id"])["status"] == "CLAIMED"
    operator.press("Cancel the task")
    operator.answer("Cancel the task")
    operator.sees("The task is cancelled.")
    expect(operator.row("task.cancel")).to_contain_text("not wanted")
    assert operator.user.act("heartbeat", held["id"]).json()["code"] == "cancelled"


def test_one_dead_letter_is_requeued_and_one_purged(operator: Operator) -> None:
    first, second, third = operator.dead_letters("fetch", 3, "no route")
    operator.at("dead")
    expect(operator.row(first)).to_contain_text("no route")
    operator.press(f"Requeue {first}")
    operator.sees(f"{first} is in its queue again.")
    expect(operator.row(first)).to_have_count(0)
    assert operator.user.task(first)["status"] == "PENDING"
    operator.press(f"Purge {second}")
    operator.answer("Purge")
    operator.sees(f"{second} is purged.")
    assert operator.user.get(f"/tasks/{second}").status_code == 404
    operator.go(f"task/{third}")
    operator.press("Requeue")
    operator.sees("The task is in its queue again.")
    assert operator.user.task(third)["status"] == "PENDING"


def test_a_dead_letter_is_purged_on_its_own_page(operator: Operator) -> None:
    (letter,) = operator.dead_letters("fetch", 1)
    operator.at(f"task/{letter}")
    operator.press("Purge")
    operator.answer("Purge")
    operator.sees("The dead letter is purged.")
    assert operator.admin("/dlq")["tasks"] == []


def test_all_dead_letters_of_a_command_are_requeued_in_steps(operator: Operator) -> None:
    operator.dead_letters("fetch", 1_150)
    operator.dead_letters("print", 2, "the printer is out of paper")
    operator.at("dead")
    operator.page.get_by_label("Command").fill("fetch")
    operator.page.get_by_role("main").get_by_role("button", name="Show").click()
    operator.page.get_by_role("link", name="Dead letters").wait_for()
    expect(operator.row("print")).to_have_count(0)
    operator.press("Requeue all of these")
    expect(operator.page.get_by_role("dialog")).to_contain_text("of fetch")
    operator.answer("Requeue all")
    expect(operator.page.get_by_role("status").filter(has_text="1,150 requeued.")).to_be_visible(timeout=60_000)
    assert [each["command"] for each in operator.admin("/dlq")["tasks"]] == ["print", "print"]
    steps = [each for each in operator.requests if each.url.endswith("/dlq/requeue")]
    assert len(steps) >= 2 and all(each.post_data_json["limit"] == 1_000 for each in steps)
    assert len({each.post_data_json["before"] for each in steps}) == 1


def test_all_dead_letters_are_purged_after_a_question(operator: Operator) -> None:
    operator.dead_letters("fetch", 3)
    operator.at("dead")
    operator.press("Purge all of these")
    operator.answer("No, go back")
    assert len(operator.admin("/dlq")["tasks"]) == 3
    operator.press("Purge all of these")
    operator.answer("Purge all")
    operator.sees("3 purged.")
    expect(operator.page.get_by_text("There is no dead letter.")).to_be_visible()


def test_dead_letters_are_meant_by_the_time_of_their_death(operator: Operator) -> None:
    operator.dead_letters("fetch", 2)
    operator.at("dead?before=2020-01-01T00:00")
    expect(operator.page.get_by_text("There is no dead letter.")).to_be_visible()
    operator.press("Requeue all of these")
    operator.answer("Requeue all")
    operator.sees("0 requeued.")
    assert len(operator.admin("/dlq")["tasks"]) == 2


def test_steps_are_patient_while_the_node_asks_to_wait_and_can_be_stopped(operator: Operator) -> None:
    operator.dead_letters("fetch", 1)
    operator.at("dead")
    refusal = json.dumps({"code": "unavailable", "message": "the node is busy"})
    operator.page.route("**/dlq/purge", lambda route: route.fulfill(
        status=503, body=refusal, headers={"Retry-After": "20", "Content-Type": "application/json"}))  # fmt: skip
    operator.press("Purge all of these")
    operator.answer("Purge all")
    operator.page.get_by_text("the node is busy. Trying again.").wait_for()
    operator.press("Stop")
    operator.sees("0 purged.")


def test_webhooks_that_were_given_up_are_tried_again(operator: Operator) -> None:
    user = operator.user
    for number in range(3):
        task = user.created("hook", webhook=f"http://127.0.0.1:9/{number}?key=hunter2")
        user.act("result", user.claimed("hook")["id"], status="COMPLETED")
    deadline = time.monotonic() + 60
    while len(operator.admin("/webhooks")["deliveries"]) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    operator.at("webhooks")
    expect(operator.row(task["id"])).to_contain_text("http://127.0.0.1:9/2")
    assert "hunter2" not in operator.page.content()
    operator.row(task["id"]).get_by_role("button").click()
    operator.sees("The delivery is tried again.")
    expect(operator.page.get_by_role("row")).to_have_count(3)
    operator.press("Try all of these again")
    operator.sees("deliveries are tried again.")
    operator.page.get_by_label("State").select_option("Waiting")
    operator.row(task["id"]).wait_for()


def test_the_audit_and_the_node_are_shown(operator: Operator) -> None:
    operator.user.created("work")
    operator.user.post("/admin/queues/work/pause", {"what": "intake"}, token=operator.token)
    operator.at("audit")
    expect(operator.row("queue.pause")).to_contain_text("work")
    expect(operator.row("queue.pause")).to_contain_text("ann")
    operator.page.get_by_role("link", name="Node").click()
    facts = operator.admin("/node")
    expect(operator.page.locator("#view")).to_contain_text(facts["nodeId"])
    expect(operator.page.locator("#view")).to_contain_text(facts["version"])
    expect(operator.page.locator("#view")).to_contain_text("days left")


def test_an_operator_sees_every_tenant_and_steers_another_one(operator: Operator) -> None:
    operator.user.created("theirs")
    scoped = token(operator.node, "ops", scopes=("codeq:operator",))
    operator.at("queues?tenant=*", scoped)
    operator.page.get_by_label("Filter").fill("theirs")
    operator.cell(operator.tenant, "Queue").get_by_role("link").click()
    operator.press("Pause")
    operator.sees("theirs is paused: dispatch.")
    assert operator.admin("/queues/theirs")["paused"]["dispatch"]
    operator.page.get_by_role("link", name="Audit").click()
    expect(operator.row("queue.pause")).to_contain_text("ann of ops")
    operator.page.get_by_label("Tenant").fill("")
    operator.page.get_by_role("banner").get_by_role("button", name="Show").click()
    expect(operator.page.get_by_text("Nobody has changed anything yet.")).to_be_visible()


def test_refusals_are_in_plain_words(operator: Operator, node: Node) -> None:
    operator.sign_in("no token at all")
    operator.sees("This is no token", "alert")
    operator.sign_in("abc.def.ghi")
    operator.sees("does not accept this token", "alert")
    operator.sign_in(node.worker(operator.tenant))
    operator.sees("a producer’s, not a worker’s", "alert")
    operator.sign_in(node.producer(operator.tenant))
    operator.sees("This token may not do that", "alert")
    operator.at("queues?tenant=somebody")
    operator.sees("another tenant needs the scope codeq:operator", "alert")
    operator.go("task/018f0000-0000-7000-8000-000000000001")
    operator.sees("It is not there", "alert")
    operator.go("queue/work?tenant=")
    operator.user.created("work")
    operator.page.get_by_label("Until").fill("2001-01-01T00:00:00")
    operator.press("Pause")
    operator.sees("The node does not accept this", "alert")


def test_a_token_that_ends_leads_back_to_the_sign_in(operator: Operator) -> None:
    operator.user.created("work")
    operator.sign_in()
    operator.row("work").wait_for()
    refusal = json.dumps({"code": "unauthenticated", "message": "the token has expired"})
    operator.page.route("**/admin/**", lambda route: route.fulfill(status=401, body=refusal))
    operator.sees("does not accept this token any more", "alert")
    expect(operator.page.get_by_label("Token")).to_be_focused()
    assert operator.row("work").count() == 0


def test_a_lost_connection_is_told_and_mended_with_growing_waits(operator: Operator) -> None:
    operator.user.created("work")
    operator.sign_in()
    operator.row("work").wait_for()
    operator.page.context.set_offline(True)
    operator.sees("The connection to the node is lost", "alert")
    operator.sees("Trying again in 8 s.", "alert")
    operator.page.context.set_offline(False)
    operator.user.created("work")
    expect(operator.page.get_by_role("alert")).to_be_hidden(timeout=SECONDS)
    expect(operator.cell("work", "Ready")).to_have_text("2")


def test_a_hidden_page_asks_for_nothing(operator: Operator) -> None:
    operator.user.created("work")
    operator.sign_in()
    operator.row("work").wait_for()
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    operator.page.evaluate(hide, True)
    asked = len(operator.requests)
    operator.page.wait_for_timeout(5_000)
    assert len(operator.requests) == asked
    operator.user.created("work")
    operator.page.evaluate(hide, False)
    expect(operator.cell("work", "Ready")).to_have_text("2")


def test_the_page_is_served_alike_over_both_versions_of_http(node: Node) -> None:
    bodies = set()
    for http2 in (False, True):
        with node.client(http2=http2) as client:
            answer: httpx.Response = client.get("/console")
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            head = client.head("/console/app.js")
            assert (head.status_code, head.content) == (200, b"")
            bodies.add(answer.content)
    assert len(bodies) == 1


@pytest.mark.parametrize("name", ["nothing.js", "page.html"])
def test_unknown_files_are_not_found(node: Node, name: str) -> None:
    with node.client() as client:
        assert client.get(f"/console/{name}").status_code == 404
