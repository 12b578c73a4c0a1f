"""What schemathesis is told about this API that its description cannot say."""

import itertools
import json

import schemathesis
from hypothesis import strategies as st
from schemathesis.openapi.checks import RejectedPositiveData

# The example in the description.
IDEMPOTENCY_KEY = "order-A-1042"

# Formats of our own: whatever is drawn for them is valid.
label = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
host = st.lists(label, min_size=1, max_size=3).map(".".join)
port = st.integers(1, 65535)
rule = st.one_of(host, host.map("*.{}".format), st.builds("{}:{}".format, host, port), st.just("[2001:db8::1]:443"))
url = st.builds("{}://{}.example/{}".format, st.sampled_from(["http", "https"]), host, label)

schemathesis.openapi.format("host-rule", rule)
schemathesis.openapi.format("http-url", url)


fresh = itertools.count(1)


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw.get("operationId")
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    # Without a variant, an invoke of a deployment that has been given a second one, or left without any, is refused,
    # and no schema knows how many a deployment has.
    if operation == "invoke" and is_positive and isinstance(case.body, dict) and not case.body.get("variant"):
        case.body["variant"] = "prod"
    # The same key with another body is refused before anything else is looked at.
    if case.headers and case.headers.get("Idempotency-Key") == IDEMPOTENCY_KEY:
        case.headers["Idempotency-Key"] = f"{IDEMPOTENCY_KEY}-{next(fresh)}"
    # What other requests need has to stay: the deployment of the examples, and the one whose webhook is called.
    named = (case.path_parameters or {}).get("deployment")
    if case.method.upper() == "DELETE" and named in ("hello", "open"):
        case.path_parameters["deployment"] = "fails"
    elif case.method.upper() != "GET" and named == "open":
        case.path_parameters["deployment"] = "hello"


def is_beyond_schemas(operation, error):
    """Whether that 400 is about a definition, inputs or a callback URL: all that valid data may be refused for."""
    code, field = error.get("error_code"), error.get("field", "")
    about_definition = operation == "deploy" and code in ("invalid_definition", "malformed_body")
    about_inputs = operation in ("invoke", "trigger") and (field == "/inputs" or field.startswith("/inputs/"))
    about_url = operation in ("invoke", "trigger", "changeDeployment") and field in (
        "/async/callback_url", "/callback_url"
    )
    return about_definition or about_inputs or about_url


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops nothing but what `is_beyond_schemas`."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    return not is_beyond_schemas(case.operation.definition.raw.get("operationId"), json.loads(response.content))
