"""What must hold whatever tasks say and whoever looks: no markup from data, no token left behind, no mouse needed."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from playwright.sync_api import expect

from tests.browser.operator import Operator

Picture = Callable[[Operator, str], None]

DARK: Final = {"color_scheme": "dark"}
PHONE: Final = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}

HOSTILE: Final = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "</pre><svg/onload=window.hacked=1>",
    '"><iframe srcdoc="<script>parent.hacked=1</script>">',
    "javascript:window.hacked=1",
    "{{constructor.constructor('window.hacked=1')()}}",
    "\u202e<b>reversed</b>\u0000\u2028\ufeff",
)


def test_what_tasks_say_is_shown_as_text(operator: Operator) -> None:
    user = operator.user
    for number, text in enumerate(HOSTILE):
        user.created(
            "evil",
            {"text": text, text: 1},
            maxAttempts=1,
            priority=200 - number,
            idempotencyKey=f"{number}{text}"[:200],
            webhook="http://127.0.0.1:9/'onerror=window.hacked=1",
        )
        task = user.claimed("evil", workerId=text[:100].replace("\0", ""))["id"]
        user.act("nack", task, reason=text, workerId=text[:100].replace("\0", ""))
        operator.user.post(f"/admin/tasks/{task}/requeue", token=operator.token)
        user.post(f"/admin/tasks/{task}/cancel", {"reason": text}, token=operator.token)
        if number == 0:
            operator.at(f"task/{task}")
        else:
            operator.go(f"task/{task}")
        expect(operator.page.get_by_label("payload")).to_contain_text(json.dumps(text)[1:8])
        operator.row("task.cancel").wait_for()
    operator.dead_letters("evil", 1, HOSTILE[1])
    for view in (
        "queue/evil",
        "queue/evil?status=failed",
        "dead",
        "audit",
        "webhooks?state=waiting",
        "queue/%3Cimg%20src=x%20onerror=window.hacked=1%3E",
        "dead?command=%3Cscript%3Ewindow.hacked=1",
    ):
        operator.go(view)
        operator.page.wait_for_timeout(300)
    assert operator.page.evaluate("window.hacked === undefined")
    assert operator.page.locator("#view img, #view script, #view iframe, #view svg, #view b").count() == 0


def test_no_script_comes_in_past_the_policy(operator: Operator) -> None:
    markup = """() => { try { document.body.innerHTML = "<b>x</b>"; return "let in"; }
                        catch (error) { return error.name; } }"""
    assert operator.page.evaluate(markup) == "TypeError"
    operator.page.evaluate(
        """() => { const script = document.createElement("script");
                   try { script.text = "window.hacked = 1"; } catch { }
                   document.head.append(script); }"""
    )
    outside = operator.page.evaluate("fetch('https://example.invalid/').then(() => 'sent', error => error.name)")
    assert outside == "TypeError"
    assert operator.page.evaluate("window.hacked === undefined")
    assert any("Content Security Policy" in each for each in operator.mistakes)
    operator.mistakes.clear()


def test_the_token_is_in_no_storage_no_address_and_no_field(operator: Operator) -> None:
    operator.user.created("work")
    operator.sign_in()
    for view in ("queues", "queue/work", "dead", "audit", "node"):
        operator.go(view)
        operator.page.wait_for_timeout(200)
        assert operator.token not in operator.page.url
    secret = operator.token
    kept = operator.page.evaluate(
        """async () => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, window.name,
             history.state, await indexedDB.databases(), await caches.keys(), performance.getEntries().map(e => e.name),
             [...document.querySelectorAll("input")].map(e => e.value)])"""
    )
    assert secret not in kept and secret.split(".")[2] not in kept
    assert secret not in operator.page.content()
    assert all(secret not in each.url for each in operator.requests)
    assert operator.page.context.storage_state() == {"cookies": [], "origins": []}
    assert secret not in operator.node.log
    operator.page.reload()
    expect(operator.heading("Sign in")).to_be_visible()
    operator.sign_in()
    operator.go("queues")
    operator.row("work").wait_for()
    operator.press("Sign out")
    expect(operator.page.get_by_label("Token")).to_be_focused()
    operator.go("dead")
    operator.page.wait_for_timeout(300)
    assert operator.row("work").count() == 0
    operator.page.goto("about:blank")
    operator.page.go_back()
    expect(operator.heading("Sign in")).to_be_visible()


def test_everything_can_be_done_with_the_keyboard(operator: Operator) -> None:
    (letter,) = operator.dead_letters("fetch", 1)
    keys = operator.page.keyboard

    def focus() -> Any:
        return operator.page.evaluate("""() => { const e = document.activeElement;
            return e.getAttribute("aria-label") ?? (e.labels?.[0]?.textContent ?? e.textContent).trim(); }""")

    def tab_to(name: str) -> None:
        for _ in range(60):
            keys.press("Tab")
            if focus() == name:
                outline = operator.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{name} does not show that it has the focus"
                return
        raise AssertionError(f"the keyboard does not reach {name}")

    keys.insert_text(operator.token)
    keys.press("Enter")
    operator.heading("Queues").wait_for()
    assert focus() == "Queues"
    tab_to("Skip to the content")
    keys.press("Enter")
    assert focus() == "Queues"
    tab_to("Dead letters")
    keys.press("Enter")
    operator.row(letter).wait_for()
    tab_to(f"Purge {letter}")
    keys.press("Enter")
    assert focus() == "No, go back"
    keys.press("Escape")
    operator.page.get_by_role("dialog").wait_for(state="hidden")
    assert focus() == f"Purge {letter}"
    tab_to(f"Requeue {letter}")
    keys.press("Enter")
    operator.sees("is in its queue again")
    assert focus() == "Requeue all of these"
    tab_to("Queues")
    keys.press("Enter")
    tab_to("fetch")
    keys.press("Enter")
    operator.heading("Queue fetch").wait_for()
    tab_to("What")
    keys.press("ArrowDown")
    tab_to("Pause")
    keys.press("Enter")
    operator.sees("fetch is paused: intake.")
    tab_to("Resume")
    keys.press("Space")
    operator.sees("fetch is resumed: intake.")
    assert focus() == "Resume"


def test_polling_leaves_the_focus_where_it_is(operator: Operator) -> None:
    operator.user.created("b")
    operator.sign_in()
    operator.page.get_by_role("link", name="b", exact=True).focus()
    operator.user.created("a")
    operator.row("a").first.wait_for()
    expect(operator.page.get_by_role("row")).to_have_count(3, timeout=15_000)
    expect(operator.page.get_by_role("link", name="b", exact=True)).to_be_focused()


@pytest.mark.parametrize("operator", [{}, DARK, PHONE], indirect=True, ids=["light", "dark", "phone"])
def test_text_stands_out_and_every_field_has_a_name(operator: Operator, picture: Picture) -> None:
    dark = operator.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    phone = operator.page.evaluate("innerWidth") == 360
    (letter,) = operator.dead_letters("fetch", 1, "no route to host")
    operator.user.created("work", {"key": "x" * 300})
    operator.at("queues")
    views = ["queues", "queue/work", "queue/fetch?status=dlq", f"task/{letter}", "dead", "webhooks", "audit", "node"]
    for view in views:
        operator.go(view)
        operator.page.wait_for_timeout(400)
        assert operator.page.evaluate(UNNAMED) == []
        assert operator.page.evaluate(CONTRAST) == []
        assert operator.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view
        if dark and view == "dead":
            picture(operator, "dark")
        if phone and view == "queues":
            picture(operator, "phone")


@pytest.mark.parametrize("operator", [PHONE], indirect=True)
def test_nothing_scrolls_sideways_on_a_phone(operator: Operator) -> None:
    long = "a-command-with-a-very-long-name." * 4
    assert operator.page.evaluate("document.documentElement.scrollWidth") <= 360
    (letter,) = operator.dead_letters(long[:128], 1, "an-error-in-one-word-" * 30)
    task = operator.user.created(long[:128], {"key": "x" * 3_000})["id"]
    operator.at("queues")
    for view in ("queues", f"queue/{long[:128]}", f"task/{task}", f"task/{letter}", "dead", "audit", "node"):
        operator.go(view)
        operator.page.wait_for_timeout(400)
        assert operator.page.evaluate("document.documentElement.scrollWidth") <= 360, view


UNNAMED: Final = """() => {
    const named = e => e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.caption?.textContent
        || e.textContent.trim();
    return [...document.querySelectorAll("input, select, button, a[href], nav, table, pre[tabindex]")]
        .filter(e => e.checkVisibility() && !named(e)).map(e => e.outerHTML);
}"""

CONTRAST: Final = """() => {
    const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const behind = e => {
        for (; e; e = e.parentElement) {
            const color = parts(getComputedStyle(e).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return parts(getComputedStyle(document.documentElement).backgroundColor);
    };
    const weak = [];
    for (const e of document.querySelectorAll("body *")) {
        if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const pair = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
        const ratio = (pair[0] + .05) / (pair[1] + .05);
        if (ratio < 4.5) weak.push(`${e.tagName} ${e.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
    }
    return weak;
}"""
"""What has less contrast than 4.5 to 1, which is what WCAG 2.2 asks for (level AA)."""
