//! Every list of runs and of deliveries with every single filter, first pages and deep ones; counts, charts,
//! suggestions; one run, one step, one delivery; and the other pages.

use rusqlite::Connection;
use serde_json::Value;

use skep::bench::Result;
use skep::bench::wire::Client;

use crate::ask::{LIST, Question, RUN, escaped, measure, read, text, texts};
use crate::file::{Filled, cached};
use crate::job::{STILL, look};
use crate::report::Report;
use crate::server::start;
use crate::{Asked, size};

/// How many different values one question has at most.
const VALUES: usize = 20;

/// What a filter is called, and the values of it that are asked for, each as it stands in a query.
type Filter = (&'static str, Vec<String>);

const RUNS: &str = "/v1/workflow_runs?limit=50";
const DELIVERIES: &str = "/v1/deliveries?limit=50";

fn one(name: &'static str, query: impl Into<String>) -> Filter {
    (name, vec![query.into()])
}

fn many(name: &'static str, key: &str, values: Vec<String>) -> Filter {
    let queries = values
        .iter()
        .map(|value| format!("{key}={}", escaped(value)));
    (name, queries.collect())
}

/// A time in the file's span, as a share of it.
fn at(filled: &Filled, share: f64) -> String {
    let ms = filled.begin + ((filled.end - filled.begin) as f64 * share) as i64;
    escaped(&skep::time::Timestamp(ms).to_string())
}

fn key_of(conn: &Connection, row: i64) -> Result<String> {
    let sql = "SELECT 'key_' || lower(hex(key_id)) FROM api_keys WHERE id = ?1";
    text(conn, sql, [row])
}

/// The number of the facet of users.
const USER: i64 = 6;

/// Users that have little done for them, or much.
fn users(conn: &Connection, seldom: bool) -> Result<Vec<String>> {
    let order = if seldom { "" } else { "DESC" };
    let sql = format!(
        "SELECT value FROM (SELECT value, count(*) AS n FROM facets
                            WHERE facet = ?1 AND value GLOB 'user-*' GROUP BY value)
         ORDER BY n {order}, value LIMIT ?2"
    );
    texts(conn, &sql, (USER, VALUES as i64))
}

fn run_filters(conn: &Connection, filled: &Filled) -> Result<Vec<Filter>> {
    let mut filters = vec![
        one("all", ""),
        one("values=false", "values=false"),
        one("limit=500", "limit=500"),
    ];
    for status in [
        "queued",
        "running",
        "awaiting_approval",
        "waiting",
        "completed",
        "failed",
        "cancelled",
    ] {
        filters.push(one("status", format!("status={status}")));
    }
    for source in ["api", "webhook", "schedule", "dashboard", "workflow"] {
        filters.push(one("source", format!("source={source}")));
    }
    for delivery in ["direct", "callback"] {
        filters.push(one("delivery", format!("delivery={delivery}")));
    }
    for deployment in ["orders", "reports", "seldom"] {
        filters.push(one("deployment", format!("deployment={deployment}")));
    }
    for variant in ["prod", "canary", "none"] {
        filters.push(one("variant", format!("variant={variant}")));
    }
    filters.push(one(
        "api_key_id, frequent",
        format!("api_key_id={}", key_of(conn, 1)?),
    ));
    filters.push(one(
        "api_key_id, seldom",
        format!("api_key_id={}", key_of(conn, 40)?),
    ));
    filters.push(many("user, frequent", "user", users(conn, false)?));
    filters.push(many("user, seldom", "user", users(conn, true)?));
    filters.push(one("user, none", "user=nobody"));
    filters.push(one("metadata key, frequent", "metadata%5Bplan%5D"));
    filters.push(one("metadata key, seldom", "metadata%5Bincident%5D"));
    filters.push(one("metadata key, none", "metadata%5Bnothing%5D"));
    for plan in ["free", "enterprise"] {
        filters.push(one("metadata", format!("metadata%5Bplan%5D={plan}")));
    }
    let incident = "metadata%5Bincident%5D=INC-4";
    filters.push(one("metadata, one run", incident));
    let customers = (0..VALUES).map(|at| format!("c-{}", at * 997));
    let key = "metadata%5Bcustomer%5D";
    filters.push(many("metadata, customers", key, customers.collect()));
    filters.push(one("from", format!("from={}", at(filled, 0.98))));
    filters.push(one("to", format!("to={}", at(filled, 0.5))));
    filters.push(one(
        "from and to",
        format!("from={}&to={}", at(filled, 0.3), at(filled, 0.31)),
    ));
    filters.push(many("q", "q", some_runs(conn, filled)?));
    Ok(filters)
}

/// Runs from all of the file, by their request ids.
fn some_runs(conn: &Connection, filled: &Filled) -> Result<Vec<String>> {
    let step = (filled.runs / 200).max(1) as i64;
    let sql = "WITH RECURSIVE n (id) AS (SELECT ?1 UNION ALL SELECT id + ?1 FROM n LIMIT 199)
               SELECT 'req_' || lower(hex(run_id)) FROM n JOIN runs USING (id)";
    texts(conn, sql, [step])
}

fn delivery_filters(conn: &Connection, filled: &Filled) -> Result<Vec<Filter>> {
    let mut filters = vec![one("all", ""), one("limit=500", "limit=500")];
    for status in [
        "pending",
        "delivering",
        "delivered",
        "dead",
        "gone",
        "cancelled",
    ] {
        filters.push(one("status", format!("status={status}")));
    }
    for host in ["hooks.example.com", "seldom.example.net", "none.example"] {
        filters.push(one("host", format!("host={host}")));
    }
    for class in [
        "http_status",
        "timeout",
        "connect",
        "reset",
        "dns",
        "forbidden_address",
        "tls",
        "interrupted",
    ] {
        filters.push(one("class", format!("class={class}")));
    }
    for channel in ["callback", "webhook", "email"] {
        filters.push(one("channel", format!("channel={channel}")));
    }
    filters.push(one("from", format!("from={}", at(filled, 0.98))));
    filters.push(one("to", format!("to={}", at(filled, 0.5))));
    filters.push(many("run", "run", some_runs(conn, filled)?));
    Ok(filters)
}

/// What a filter is called in a report: its query, if that is short and always the same.
fn called(name: &str, queries: &[String]) -> String {
    match queries {
        [query] if !query.is_empty() && !query.contains("%3A") && !name.contains("key_id") => {
            query.replace("%5B", "[").replace("%5D", "]")
        }
        _ => name.to_owned(),
    }
}

/// The first page of each filter, and a page that begins in the middle of the file, by a cursor.
fn pages(list: &str, filters: &[Filter], filled: &Filled, client: &mut Client) -> Vec<Question> {
    let mut questions = Vec::new();
    let middle = at(filled, 0.5);
    for (name, queries) in filters {
        let called = called(name, queries);
        let paths = queries.iter().map(|query| format!("{list}&{query}"));
        let first: Vec<String> = paths.collect();
        let deep: Vec<String> = match *name {
            "q" | "run" | "from" | "from and to" => Vec::new(),
            _ => first
                .iter()
                .filter_map(|path| {
                    // A list of what is far back may be short, or not there yet.
                    let page = read(client, &format!("{path}&to={middle}")).ok()?;
                    let cursor = page["next_cursor"].as_str()?;
                    Some(format!("{path}&cursor={}", escaped(cursor)))
                })
                .collect(),
        };
        questions.push(Question::of(called.clone(), first, LIST));
        if !deep.is_empty() {
            questions.push(Question::of(format!("{called}, deep"), deep, LIST));
        }
    }
    questions
}

/// Lists of runs.
pub fn runs(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = cached(size(asked))?;
    let filters = run_filters(&look(&filled.folder)?, &filled)?;
    let server = start(&filled.folder, &STILL)?;
    let questions = pages(RUNS, &filters, &filled, &mut server.connect()?);
    server.stop()?;
    measure(asked, &filled, "lists of runs", &questions, report)
}

/// Lists of deliveries.
pub fn deliveries(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = cached(size(asked))?;
    let filters = delivery_filters(&look(&filled.folder)?, &filled)?;
    let server = start(&filled.folder, &STILL)?;
    let questions = pages(DELIVERIES, &filters, &filled, &mut server.connect()?);
    server.stop()?;
    measure(asked, &filled, "lists of deliveries", &questions, report)
}

/// How many match, when they came, and what can be asked for.
pub fn figures(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = cached(size(asked))?;
    let conn = look(&filled.folder)?;
    let mut questions = Vec::new();
    for (name, queries) in run_filters(&conn, &filled)? {
        if matches!(name, "values=false" | "limit=500") {
            continue;
        }
        let called = called(name, &queries);
        let paths = queries
            .iter()
            .map(|query| format!("/v1/workflow_runs/counts?{query}"));
        questions.push(Question::of(
            format!("counts, {called}"),
            paths.collect(),
            LIST,
        ));
    }
    for (name, share) in [("1 h", 1.0 / 720.0), ("1 d", 1.0 / 30.0), ("30 d", 1.0)] {
        for deployment in ["", "&deployment=orders"] {
            let path = format!(
                "/v1/workflow_runs/histogram?bars=80&from={}&to={}{deployment}",
                at(&filled, 1.0 - share),
                at(&filled, 1.0)
            );
            questions.push(Question::list(
                format!("histogram, {name}{deployment}"),
                path,
            ));
        }
    }
    for query in [
        "",
        "?key=plan",
        "?key=customer",
        "?key=customer&prefix=c-12",
        "?kind=user",
        "?kind=user&prefix=user-499",
    ] {
        let path = format!("/v1/metadata_keys{query}");
        questions.push(Question::list(format!("metadata_keys{query}"), path));
    }
    measure(asked, &filled, "figures", &questions, report)
}

/// One of each.
pub fn single(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = cached(size(asked))?;
    let conn = look(&filled.folder)?;
    let runs = some_runs(&conn, &filled)?;
    let of = |tail: &str| -> Vec<String> {
        runs.iter()
            .map(|id| format!("/v1/workflow_runs/{id}{tail}"))
            .collect()
    };
    let step = (filled.runs / 1_000).max(1) as i64;
    let sql = "WITH RECURSIVE n (id) AS (SELECT ?1 UNION ALL SELECT id + ?1 FROM n LIMIT 200)
               SELECT 'dlv_' || lower(hex(delivery_id)) FROM n JOIN deliveries USING (id)";
    let deliveries = texts(&conn, sql, [step])?;
    let sql = "SELECT 'dlv_' || lower(hex(delivery_id)) FROM deliveries WHERE status = 'dead'
               ORDER BY id DESC LIMIT 50";
    let dead = texts(&conn, sql, [])?;
    let open = |status: &str| {
        let sql = "SELECT 'req_' || lower(hex(run_id)) FROM runs
                   WHERE ended_at IS NULL AND status = ?1 LIMIT 50";
        texts(&conn, sql, [status])
    };
    let shown = |ids: Vec<String>, path: &str| -> Vec<String> {
        ids.iter().map(|id| format!("{path}/{id}")).collect()
    };
    let path = "/v1/workflow_runs";
    let questions = [
        Question::of("a run", of(""), RUN),
        Question::of("a run, without values", of("?values=false"), RUN),
        Question::of("a queued run", shown(open("queued")?, path), RUN),
        Question::of("a waiting run", shown(open("waiting")?, path), RUN),
        Question::of(
            "a run that waits for a person",
            shown(open("awaiting_approval")?, path),
            RUN,
        ),
        Question::of("its steps", of("/steps"), LIST),
        Question::of("its steps, without values", of("/steps?values=false"), LIST),
        Question::of("one step", of("/steps/fetch"), LIST),
        Question::of(
            "a request",
            shown(runs.clone(), "/v1/public/requests"),
            LIST,
        ),
        Question::of("a delivery", shown(deliveries, "/v1/deliveries"), LIST),
        Question::of("a dead delivery", shown(dead, "/v1/deliveries"), LIST),
    ];
    measure(asked, &filled, "one of each", &questions, report)?;
    hostile(asked, &filled, report)
}

/// The run with ten thousand steps and megabytes in every field, for reference: its figures are those of its bytes.
fn hostile(asked: &Asked, filled: &Filled, report: &mut Report) -> Result<()> {
    let path = format!("/v1/workflow_runs/{}", filled.hostile);
    let last = crate::hostile::STEPS - 1;
    let questions = [
        Question::list("hostile: the run", &path),
        Question::list(
            "hostile: the run, without values",
            format!("{path}?values=false"),
        ),
        Question::list("hostile: its steps", format!("{path}/steps?limit=500")),
        Question::list(
            "hostile: its steps, without values",
            format!("{path}/steps?limit=500&values=false"),
        ),
        Question::list(
            "hostile: its last step",
            format!("{path}/steps/{}", escaped(&crate::hostile::path(last))),
        ),
        Question::list(
            "hostile: its delivery",
            format!("/v1/deliveries/{}", filled.hostile.replace("req_", "dlv_")),
        ),
    ];
    measure(asked, filled, "the hostile run", &questions, report)
}

/// The other pages.
pub fn others(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = cached(size(asked))?;
    let server = start(&filled.folder, &STILL)?;
    let mut client = server.connect()?;
    let page: Value = read(&mut client, "/v1/approvals?status=pending&limit=50")?;
    let rows = page["data"].as_array().cloned().unwrap_or_default();
    let ids = rows.iter().filter_map(|row| row["id"].as_str());
    let approvals: Vec<String> = ids.map(|id| format!("/v1/approvals/{id}")).collect();
    server.stop()?;
    let mut questions = vec![Question::of("an approval", approvals, LIST)];
    for path in [
        "/v1/approvals",
        "/v1/approvals?status=pending",
        "/v1/approvals?status=approved",
        "/v1/approvals?recipient=person-1%40example.com",
        "/v1/deployments",
        "/v1/deployments?limit=500",
        "/v1/deployments/orders",
        "/v1/deployments/orders/variants/prod/versions",
        "/v1/deployments/orders/variants/prod/versions/1",
        "/v1/keys",
        "/v1/members",
        "/v1/members?limit=500",
        "/v1/audit",
        "/v1/audit?limit=500",
        "/v1/jobs",
        "/v1/secrets",
        "/v1/system",
        "/v1/stats",
        "/v1/session",
        "/",
        "/view/app.js",
    ] {
        questions.push(Question::list(path, path));
    }
    measure(asked, &filled, "other pages", &questions, report)
}
