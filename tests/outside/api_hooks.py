"""What schemathesis is told about this API that its description cannot say."""

import json

import schemathesis
from hypothesis import strategies as st
from schemathesis.openapi.checks import RejectedPositiveData

# Formats of our own: whatever is drawn for them is valid.
label = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
host = st.lists(label, min_size=1, max_size=3).map(".".join)
port = st.integers(1, 65535)
rule = st.one_of(host, host.map("*.{}".format), st.builds("{}:{}".format, host, port), st.just("[2001:db8::1]:443"))
url = st.builds("{}://{}.example/{}".format, st.sampled_from(["http", "https"]), host, label)

schemathesis.openapi.format("host-rule", rule)
schemathesis.openapi.format("http-url", url)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Names the variant where data is meant to be valid: without one, an invoke of a deployment that has been given
    a second variant, or left without any, is refused, and no schema knows how many a deployment has."""
    body = case.body
    if case.operation.definition.raw.get("operationId") == "invoke" and isinstance(body, dict):
        if case.meta is not None and case.meta.generation.mode.is_positive and not body.get("variant"):
            body["variant"] = "prod"


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
