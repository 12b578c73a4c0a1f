"""What schemathesis is told about this API that its description cannot say."""

import itertools
import json
import re

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

# The admin key of `api.py`.
ADMIN = "fhk_outside-admin-key-0123456789abcdef"
# The deployment of the examples, and the one whose webhook is called.
EXAMPLE, KEPT = "hello", "open"
NAME = "[a-z0-9][a-z0-9._-]{0,63}"

# Formats of our own: whatever is drawn for them is valid.
label = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
host = st.lists(label, min_size=1, max_size=3).map(".".join)
port = st.integers(1, 65535)
rule = st.one_of(host, host.map("*.{}".format), st.builds("{}:{}".format, host, port), st.just("[2001:db8::1]:443"))
url = st.builds("{}://{}.example/{}".format, st.sampled_from(["http", "https"]), host, label)

schemathesis.openapi.format("host-rule", rule)
schemathesis.openapi.format("http-url", url)


fresh = itertools.count(1)
# The formats of /metrics, by turns: a description cannot say that `Accept` decides, and the generator asks for anything.
formats = itertools.cycle(["text/plain", "application/openmetrics-text"])


@schemathesis.hook
def before_call(context, case, kwargs):
    """Leads requests past what would refuse them before their data is looked at. What is invalid is left as it is."""
    operation = case.operation.definition.raw.get("operationId")
    path = case.path_parameters or {}
    # A name that nothing has is 404. Without a variant, a deployment that was given a second one is refused, and no
    # schema knows how many it has.
    body = case.body
    if operation == "invoke" and isinstance(body, dict):
        if isinstance(body.get("deployment"), str) and body["deployment"]:
            body["deployment"] = KEPT
        if body.get("variant", "") is None or isinstance(body.get("variant", ""), str):
            body["variant"] = "prod"
    # The same key with another body is refused before anything else is looked at.
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,200}", key):
        case.headers["Idempotency-Key"] = f"{key}-{next(fresh)}"
    # After ten wrong keys in a minute, none is looked at.
    if operation == "signIn" and isinstance(body, dict) and isinstance(body.get("key"), str) and body["key"].strip():
        body["key"] = ADMIN if len(body["key"]) <= 500 else body["key"]
    # What waits has to go on waiting.
    if operation == "cancelRuns" and isinstance(body, dict) and isinstance(body.get("dry_run", False), bool):
        body["dry_run"] = True
    if operation == "getMetrics":
        case.headers = {**(case.headers or {}), "Accept": next(formats)}
    # What other requests need has to stay as it is.
    if operation in ("changeDeployment", "rollBack") and re.fullmatch(NAME, str(path.get("deployment"))):
        path["deployment"] = EXAMPLE
        if "variant" in path:
            path["variant"] = "prod"
    elif case.method.upper() == "DELETE" and path.get("deployment") in (EXAMPLE, KEPT):
        path["deployment"] = "fails"
    elif case.method.upper() != "GET" and path.get("deployment") == KEPT:
        path["deployment"] = EXAMPLE


@schemathesis.check
def the_format_asked_for(context, response, case):
    """Figures come in the format that was asked for."""
    if case.operation.definition.raw.get("operationId") != "getMetrics" or response.status_code != 200:
        return
    asked, came = response.request.headers["Accept"], response.headers["content-type"][0]
    assert came.startswith(f"{asked};"), f"{asked} was asked for, {came} came"


def is_beyond_schemas(operation, error):
    """Whether that 400 is about a definition, inputs, a callback URL, an answer that fits another question or comes
    from another person, an address that another member has, a delegate who cannot be one, a span of time that ends before
    it begins, or a step that a run does not have or has not failed: all that valid data may be refused for."""
    code, field = error.get("error_code"), error.get("field", "")
    about_definition = operation == "deploy" and code in ("invalid_definition", "malformed_body")
    about_inputs = operation in ("invoke", "trigger") and (field == "/inputs" or field.startswith("/inputs/"))
    about_url = operation in ("invoke", "trigger", "changeDeployment") and field in (
        "/async/callback_url", "/callback_url"
    )
    about_question = operation in ("decideApproval", "reassignApproval", "linkApproval") and field in (
        "/by", "/choice", "/text", "/decision", "/form", "/to", "/from", "/recipient", "/ttl"
    )
    about_people = operation in ("addMember", "changeMember") and (
        field == "/email" and "one person's alone" in error["error"] or field.startswith("/delegate/")
    )
    about_span = operation == "getRunHistogram" and field == "/from"
    about_place = operation == "retryRun" and field == "/from"
    return (
        about_definition or about_inputs or about_url or about_question or about_people or about_span or about_place
    )


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops nothing but what `is_beyond_schemas`, and an empty value in the query, which counts as absent."""
    if isinstance(failure, AcceptedNegativeData):
        named = re.search("parameter `([^`]+)` in query -", failure.message)
        return not named or (case.query or {}).get(named[1]) not in ("", [], [""])
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    return not is_beyond_schemas(case.operation.definition.raw.get("operationId"), json.loads(response.content))
