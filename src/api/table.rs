//! Every endpoint, one row each. The documentation is compared with this table.

use crate::api::door::Access::{self, AnyKey, Approvals, Key, Open, Own, Webhook};
use crate::api::door::Scope::{Admin, Approve, Deploy, Invoke, Read};
use crate::api::routes::Route;
use crate::api::{
    Handler, approvals, approve, audit, batch, dashboard, deliveries, deployments, events, health,
    invoke, jobs, keys, members, metrics, openapi, overview, requests, retry, rotation, runs,
    secrets, session, stats, system, versions, webhook,
};

const fn row(
    method: &'static str,
    pattern: &'static str,
    access: Access,
    handler: Handler,
    doc: &'static str,
) -> Route<Handler> {
    Route {
        method,
        pattern,
        access,
        doc,
        handler,
    }
}

const PLACE: &str = "/v1/deployments/{deployment}/variants/{variant}";
const VERSIONS: &str = "/v1/deployments/{deployment}/variants/{variant}/versions";

/// The endpoints.
#[rustfmt::skip] // One line a row.
pub static ROUTES: &[Route<Handler>] = &[
    row("POST", invoke::PATTERN, Key(Invoke), invoke::invoke, "Start a run, and wait for its result or have it delivered."),
    row("POST", batch::PATTERN, Key(Invoke), batch::invoke, "Start many runs in one commit."),
    row("POST", webhook::PATTERN, Webhook, webhook::trigger, "Start a run by a deployment's webhook secret."),
    row("GET", "/v1/workflow_runs", Own, runs::list, "List runs, filtered."),
    row("GET", "/v1/workflow_runs/counts", Own, overview::counts, "Count runs, filtered, by state."),
    row("GET", "/v1/workflow_runs/histogram", Key(Read), overview::histogram, "Count runs by when they were accepted and where they stand."),
    row("GET", "/v1/workflow_runs/{id}", Own, runs::show, "Show a run with its first steps and its deliveries."),
    row("GET", "/v1/workflow_runs/{id}/steps", Own, runs::steps, "List a run's steps, in order of execution."),
    row("GET", "/v1/workflow_runs/{id}/steps/{path}", Own, runs::show_step, "Show a step of a run."),
    row("POST", "/v1/workflow_runs/{id}/cancel", Key(Invoke), runs::cancel, "Cancel a run, whatever it is doing."),
    row("POST", "/v1/workflow_runs/{id}/retry", Key(Invoke), retry::retry, "Repeat a run that has ended."),
    row("POST", "/v1/workflow_runs/cancel", Key(Admin), jobs::cancel_runs, "Cancel every run that a filter matches."),
    row("POST", "/v1/workflow_runs/retry", Key(Admin), jobs::retry_runs, "Repeat every run that a filter matches."),
    row("GET", "/v1/public/requests/{request_id}", Own, requests::show, "Show a request and its result."),
    row("GET", "/v1/metadata_keys", Key(Read), overview::metadata_keys, "List what runs can be filtered by: metadata keys, their values, users."),
    row("GET", "/v1/deliveries", Own, deliveries::list, "List deliveries, filtered."),
    row("GET", "/v1/deliveries/{id}", Own, deliveries::show, "Show a delivery with its attempts."),
    row("POST", "/v1/deliveries/{id}/redeliver", Key(Admin), deliveries::redeliver, "Send a delivery again."),
    row("POST", "/v1/deliveries/redeliver", Key(Admin), jobs::redeliver, "Send every delivery again that a filter matches."),
    row("GET", "/v1/events", Own, events::listen, "Tell what changes, as it happens (server-sent events)."),
    row("GET", "/v1/jobs", Key(Read), jobs::list, "List what is, or was, done to many at once."),
    row("GET", "/v1/jobs/{id}", Key(Read), jobs::show, "Show how far a job has come."),
    row("POST", "/v1/jobs/{id}/cancel", Key(Admin), jobs::cancel, "Stop a job; what is done stays done."),
    row("GET", "/v1/approvals", Approvals, approvals::list, "List approvals, filtered."),
    row("GET", "/v1/approvals/{id}", Approvals, approvals::show, "Show an approval: what was asked and answered."),
    row("POST", "/v1/approvals/{id}/decide", Key(Approve), approvals::decide, "Answer an approval for a person."),
    row("POST", "/v1/approvals/{id}/resend", Key(Approve), approvals::resend, "Tell those again who have not answered."),
    row("POST", "/v1/approvals/{id}/reassign", Key(Approve), approvals::reassign, "Ask another member instead."),
    row("POST", "/v1/approvals/{id}/link", Key(Admin), approvals::link, "Make a link to the approval page."),
    row("GET", approve::PATTERN, Open, approve::show, "The approval page."),
    row("POST", approve::PATTERN, Open, approve::answer, "Answer an approval on its page."),
    row("GET", "/v1/members", Approvals, members::list, "List the people who may answer approvals."),
    row("POST", "/v1/members", Key(Admin), members::create, "Add a person who may answer approvals."),
    row("GET", "/v1/members/{id}", Approvals, members::show, "Show a member."),
    row("PATCH", "/v1/members/{id}", Key(Admin), members::change, "Change a member."),
    row("DELETE", "/v1/members/{id}", Key(Admin), members::delete, "Delete a member."),
    row("GET", "/v1/deployments", Key(Read), deployments::list, "List deployments."),
    row("GET", "/v1/deployments/{deployment}", Key(Read), deployments::show, "Show a deployment and its variants."),
    row("PATCH", "/v1/deployments/{deployment}", Key(Admin), deployments::change, "Change how a deployment's results are delivered."),
    row("DELETE", "/v1/deployments/{deployment}", Key(Admin), deployments::delete, "Delete a deployment."),
    row("PUT", PLACE, Key(Deploy), deployments::deploy, "Deploy a definition, or (dry_run) only check it."),
    row("DELETE", PLACE, Key(Admin), deployments::delete, "Delete a variant."),
    row("GET", VERSIONS, Key(Read), versions::list, "List a variant's versions with their definitions."),
    row("GET", "/v1/deployments/{deployment}/variants/{variant}/versions/{n}", Key(Read), versions::show, "Show a version with its definition."),
    row("POST", "/v1/deployments/{deployment}/variants/{variant}/rollback", Key(Deploy), versions::roll_back, "Make a new version equal to an old one."),
    row("POST", "/v1/deployments/{deployment}/secret/stage", Key(Admin), rotation::stage, "Stage a new webhook secret."),
    row("POST", "/v1/deployments/{deployment}/secret/promote", Key(Admin), rotation::promote, "Make the staged secret the current one."),
    row("POST", "/v1/deployments/{deployment}/secret/revoke", Key(Admin), rotation::revoke, "End every secret but the current one."),
    row("GET", "/v1/keys", Key(Read), keys::list, "List API keys."),
    row("POST", "/v1/keys", Key(Admin), keys::create, "Create an API key."),
    row("POST", "/v1/keys/{id}/rotate", Key(Admin), keys::rotate, "Replace an API key's secret."),
    row("DELETE", "/v1/keys/{id}", Key(Admin), keys::revoke, "Revoke an API key."),
    row("POST", session::PATTERN, Open, session::create, "Sign in to the dashboard with an API key."),
    row("GET", session::PATTERN, AnyKey, session::show, "Who is signed in, and what they may do."),
    row("DELETE", session::PATTERN, AnyKey, session::end, "Sign out."),
    row("GET", "/v1/secrets", Key(Admin), secrets::list, "List secrets, without their values."),
    row("PUT", "/v1/secrets/{name}", Key(Admin), secrets::put, "Set a secret and the hosts it may be sent to."),
    row("DELETE", "/v1/secrets/{name}", Key(Admin), secrets::delete, "Remove a secret."),
    row("GET", "/v1/audit", Key(Admin), audit::list, "List who changed what."),
    row("GET", "/v1/stats", Key(Read), stats::show, "What happened in the last hour and day, for charts."),
    row("GET", "/v1/system", Key(Read), system::show, "The health of the server: figures, settings, and what is wrong."),
    row("GET", "/v1/error_codes", Open, health::error_codes, "Every error code with its status and usual text."),
    row("GET", "/healthz", Open, health::healthz, "Whether the process lives."),
    row("GET", "/readyz", Open, health::readyz, "Whether the server accepts runs."),
    row("GET", "/metrics", Open, metrics::scrape, "Figures for Prometheus; asks for metrics_key or a read key if metrics_key is set."),
    row("GET", "/schema/workflow.json", Open, health::workflow_schema, "The JSON schema of a workflow definition."),
    row("GET", "/openapi.json", Open, openapi::show, "This API's description: OpenAPI 3.1."),
    row("GET", dashboard::HOME, Open, dashboard::home, "The dashboard."),
    row("GET", dashboard::FILE, Open, dashboard::file, "What the dashboard is made of."),
    row("GET", dashboard::LIBRARY, Open, dashboard::library, "What others made of it."),
];
