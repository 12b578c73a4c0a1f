//! Reading the query, and answering with pages.

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::call::{Answer, Head, Reply};
use crate::api::fields::pointer;
use crate::api::formats::{Format, lines};
use crate::error::{Error, Result};
use crate::flow::names::excerpt;
use crate::store::page::Page;
use crate::time::Timestamp;

/// The most values of one filter, and the most labels.
pub const FILTER_VALUES: usize = 50;

/// What every cursor begins with; the rest is nobody's business but ours.
const CURSOR: &str = "c";

/// The pairs of a query, decoded, in order. Pairs with an empty value count as absent, but for [`Query::labels`] and
/// [`Query::flag`].
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The query of a head.
    pub fn of(head: &Head) -> Query {
        Query(head.query_pairs().collect())
    }

    /// The same, from elsewhere than a head.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Query {
        Query(pairs)
    }

    /// The last value of that name.
    pub fn one(&self, name: &str) -> Option<&str> {
        let mut values = self
            .0
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        values.next_back().map(|(_, value)| value.as_str())
    }

    /// Every value of that name: repeated, separated by commas, or both (also as `name[]`). At most 50.
    pub fn many(&self, name: &str) -> Result<Vec<&str>> {
        let values: Vec<&str> = self
            .0
            .iter()
            .filter(|(key, _)| key.strip_suffix("[]").unwrap_or(key) == name)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .collect();
        at_most(name, "values", values.len())?;
        Ok(values)
    }

    /// Every value of that name, each read by `read`.
    pub fn words<T>(
        &self,
        name: &str,
        expected: &[&str],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>> {
        let read_one = |word: &str| {
            read(word).ok_or_else(|| wrong(name, &format!("one of {}", expected.join(", ")), word))
        };
        self.many(name)?.into_iter().map(read_one).collect()
    }

    /// `name[key]` and `name[key]=value`. At most 50; no key may be empty.
    pub fn labels(&self, name: &str) -> Result<Vec<(String, Option<String>)>> {
        let key_of = |pair: &str| {
            Some(
                pair.strip_prefix(name)?
                    .strip_prefix('[')?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        };
        let labels: Vec<_> = self
            .0
            .iter()
            .filter_map(|(pair, value)| {
                Some((key_of(pair)?, (!value.is_empty()).then(|| value.clone())))
            })
            .collect();
        // What is nested names no label: labels are flat.
        let is_none = |key: &str| key.is_empty() || key.contains("][");
        if let Some((key, _)) = labels.iter().find(|(key, _)| is_none(key)) {
            let came = excerpt(key);
            let message = format!("{name}[key] must name one key, got {name}[{came}]");
            return Err(Error::invalid(pointer(name), message));
        }
        at_most(name, "keys", labels.len())?;
        Ok(labels)
    }

    /// An instant, RFC 3339.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.one(name) else {
            return Ok(None);
        };
        // A plus sign that was not escaped arrives as a space.
        match Timestamp::parse(&text.replace(' ', "+")) {
            Some(at) => Ok(Some(at)),
            None => Err(wrong(name, "a time such as 2027-01-01T00:00:00Z", text)),
        }
    }

    /// `true` or `false` (or 1 or 0); the bare name is true; false if it is not there.
    pub fn flag(&self, name: &str) -> Result<bool> {
        self.flag_or(name, false)
    }

    /// The same; `missing` if it is not there.
    pub fn flag_or(&self, name: &str, missing: bool) -> Result<bool> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        match values.next_back().map(|(_, value)| value.as_str()) {
            None => Ok(missing),
            Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    /// How many rows are asked for.
    pub fn limit(&self) -> Result<usize> {
        let Some(text) = self.one("limit") else {
            return Ok(Page::DEFAULT);
        };
        match text.parse() {
            Ok(limit) if (1..=Page::MAX).contains(&limit) => Ok(limit),
            _ => Err(wrong(
                "limit",
                &format!("a whole number from 1 to {}", Page::MAX),
                text,
            )),
        }
    }

    /// `limit` and `cursor`.
    pub fn page(&self) -> Result<Page> {
        let cursor = match self.one("cursor") {
            None => None,
            Some(text) => Some(read_cursor(text).ok_or_else(|| wrong_cursor(text))?),
        };
        Ok(Page {
            limit: self.limit()?,
            cursor,
        })
    }

    /// A page of a list, in the format that is asked for.
    pub fn list<T: Serialize + JsonSchema>(
        &self,
        rows: Vec<T>,
        next: Option<i64>,
    ) -> Result<Answer> {
        self.list_from(rows, next.map(write_cursor))
    }

    /// The same of a list whose cursor is not a number.
    pub fn list_from<T: Serialize + JsonSchema>(
        &self,
        data: Vec<T>,
        next_cursor: Option<String>,
    ) -> Result<Answer> {
        Ok(Answer::Now(match self.format()? {
            Format::Json => Reply::json(200, &Listed { data, next_cursor }),
            format => lines(format, &data, next_cursor),
        }))
    }

    fn format(&self) -> Result<Format> {
        let Some(text) = self.one("format") else {
            return Ok(Format::Json);
        };
        let found = Format::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let names = Format::NAMES.map(|(name, _)| name).join(", ");
            wrong("format", &format!("one of {names}"), text)
        })
    }
}

/// A cursor that did not come from `next_cursor`.
pub fn wrong_cursor(text: &str) -> Error {
    wrong("cursor", "the next_cursor of an earlier answer", text)
}

fn at_most(name: &str, what: &str, count: usize) -> Result<()> {
    if count <= FILTER_VALUES {
        return Ok(());
    }
    let message = format!("{name} must have at most {FILTER_VALUES} {what}, got {count}");
    Err(Error::invalid(pointer(name), message))
}

fn wrong(name: &str, expected: &str, came: &str) -> Error {
    Error::invalid(
        pointer(name),
        format!("{name} must be {expected}, got {:?}", excerpt(came)),
    )
}

fn read_cursor(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(CURSOR)?;
    let number = i64::from_str_radix(digits, 16)
        .ok()
        .filter(|number| *number >= 0)?;
    (write_cursor(number) == text).then_some(number)
}

fn write_cursor(number: i64) -> String {
    format!("{CURSOR}{number:x}")
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Listed<T> {
    /// The rows, newest first (steps: in order of execution). May be fewer than `limit` although more follow.
    pub data: Vec<T>,
    /// The `cursor` of the next page; null: there is none.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&Head {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: text.to_owned(),
            headers: Vec::new(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        })
    }

    #[test]
    fn values_may_be_repeated_or_separated_by_commas() {
        let query = query("status=a,b&status=c&status[]=d&status=&other=x");
        assert_eq!(query.many("status").expect("a few"), ["a", "b", "c", "d"]);
        assert!(
            query
                .words("status", &["a"], |word| (word == "a").then_some(()))
                .is_err()
        );
    }

    #[test]
    fn labels_have_a_key_and_perhaps_a_value() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            query("metadata[plan]=pro&metadata%5Ba%5Db%5D&metadata=x")
                .labels("metadata")
                .expect("two labels"),
            [("plan".to_owned(), some("pro")), ("a]b".to_owned(), None)]
        );
    }

    #[test]
    fn filters_have_an_end() {
        let labels = |count: usize| query(&"metadata[a]&".repeat(count)).labels("metadata");
        assert_eq!(labels(50).expect("as many as may be").len(), 50);
        let errors = [
            labels(51).expect_err("too many"),
            query("metadata[]=x")
                .labels("metadata")
                .expect_err("no key"),
            query("metadata[a][b]=x")
                .labels("metadata")
                .expect_err("two keys"),
            query(&format!("metadata=x{}", ",y".repeat(50)))
                .many("metadata")
                .expect_err("too many"),
        ];
        for error in errors {
            assert_eq!(
                (error.status(), error.field.as_deref()),
                (400, Some("/metadata"))
            );
        }
    }

    #[test]
    fn a_bare_flag_is_set() {
        for (text, expected) in [
            ("dry_run", true),
            ("dry_run=", true),
            ("dry_run=1", true),
            ("dry_run&dry_run=false", false),
            ("dry_run=0", false),
            ("other", false),
        ] {
            assert_eq!(query(text).flag("dry_run").expect(text), expected, "{text}");
        }
        assert!(query("dry_run=maybe").flag("dry_run").is_err());
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for number in [0, 1, 77, i64::MAX] {
            let page = query(&format!("cursor={}&limit=500", write_cursor(number)))
                .page()
                .expect("a page");
            assert_eq!((page.cursor, page.limit), (Some(number), 500));
        }
        for bad in [
            "cursor=7",
            "cursor=c",
            "cursor=c-1",
            "cursor=cG",
            "cursor=c07",
            "cursor=c+7",
            "limit=0",
            "limit=501",
            "limit=x",
            "limit=-1",
        ] {
            let error = query(bad).page().expect_err(bad);
            assert_eq!(error.status(), 400);
            assert!(error.field.is_some(), "{bad}");
        }
        assert_eq!(query("").page().expect("defaults").limit, Page::DEFAULT);
    }

    #[test]
    fn times_are_read_with_an_unescaped_plus() {
        let at = query("from=2027-01-01T01:00:00+01:00")
            .time("from")
            .expect("a time");
        assert_eq!(at, Timestamp::parse("2027-01-01T00:00:00Z"));
        assert!(query("from=yesterday").time("from").is_err());
    }
}
