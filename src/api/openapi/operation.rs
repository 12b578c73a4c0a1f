//! What is said of a route beside its row in the table: plain values, one line a fact, and how each is shown.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::formats::{Format, NEXT_CURSOR};
use crate::error::Code;

/// A route's description. Its row in the table says who may, and in one sentence what.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub(super) method: &'static str,
    pub(super) pattern: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) about: &'static str,
    pub(super) path: &'static [Parameter],
    pub(super) query: &'static [Parameter],
    pub(super) headers: &'static [Parameter],
    pub(super) body: Option<Body>,
    pub(super) answers: &'static [Answer],
    pub(super) refuses: &'static [Code],
    pub(super) closed_by: Option<&'static str>,
}

impl Operation {
    /// A route by its method and pattern; what programs call it; its noun.
    pub const fn at(
        method: &'static str,
        pattern: &'static str,
        id: &'static str,
        tag: &'static str,
    ) -> Operation {
        Operation {
            method,
            pattern,
            id,
            tag,
            about: "",
            path: &[],
            query: &[],
            headers: &[],
            body: None,
            answers: &[],
            refuses: &[],
            closed_by: None,
        }
    }

    /// More than the table's sentence, in Markdown.
    pub const fn about(mut self, about: &'static str) -> Operation {
        self.about = about;
        self
    }

    /// The pattern's parameters, in order.
    pub const fn path(mut self, path: &'static [Parameter]) -> Operation {
        self.path = path;
        self
    }

    /// What the query may hold.
    pub const fn query(mut self, query: &'static [Parameter]) -> Operation {
        self.query = query;
        self
    }

    /// The headers that mean something here.
    pub const fn headers(mut self, headers: &'static [Parameter]) -> Operation {
        self.headers = headers;
        self
    }

    /// The body.
    pub const fn body(mut self, body: Body) -> Operation {
        self.body = Some(body);
        self
    }

    /// The answers that are no errors.
    pub const fn answers(mut self, answers: &'static [Answer]) -> Operation {
        self.answers = answers;
        self
    }

    /// The errors of this route, beside those that its access and every route can give.
    pub const fn refuses(mut self, refuses: &'static [Code]) -> Operation {
        self.refuses = refuses;
        self
    }

    /// Open to anyone, until that setting is set: then it asks for a key that may read, or for what was set.
    pub const fn closed_by(mut self, setting: &'static str) -> Operation {
        self.closed_by = Some(setting);
        self
    }
}

/// A parameter of the path, the query, or a header. Optional, but for those of the path.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub(super) name: &'static str,
    what: &'static str,
    schema: fn() -> Value,
    example: fn() -> Value,
    /// `style` and `explode`, where they are not the usual ones.
    style: Option<(&'static str, bool)>,
}

impl Parameter {
    /// A parameter: what it is, in one sentence; its schema; an example.
    pub const fn new(
        name: &'static str,
        what: &'static str,
        schema: fn() -> Value,
        example: fn() -> Value,
    ) -> Parameter {
        Parameter {
            name,
            what,
            schema,
            example,
            style: None,
        }
    }

    /// The same, written in another style.
    pub const fn style(mut self, style: &'static str, explode: bool) -> Parameter {
        self.style = Some((style, explode));
        self
    }

    pub(super) fn shown(&self, place: &str) -> Value {
        let mut value = json!({
            "name": self.name,
            "in": place,
            "description": self.what,
            "required": place == "path",
            "schema": (self.schema)(),
            "example": (self.example)(),
        });
        if place == "query" && self.style.is_none() {
            // An empty value is no value; of a flag, it is true.
            value["allowEmptyValue"] = true.into();
        }
        if let Some((style, explode)) = self.style {
            value["style"] = style.into();
            value["explode"] = explode.into();
        }
        value
    }
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    is_required: bool,
    what: &'static str,
    types: &'static [&'static str],
    schema: fn() -> Value,
    examples: fn() -> Vec<(&'static str, Value)>,
}

impl Body {
    /// A JSON body that must be there.
    pub const fn json(
        what: &'static str,
        schema: fn() -> Value,
        examples: fn() -> Vec<(&'static str, Value)>,
    ) -> Body {
        Body {
            is_required: true,
            what,
            types: &["application/json"],
            schema,
            examples,
        }
    }

    /// The same, but it need not be there.
    pub const fn optional(mut self) -> Body {
        self.is_required = false;
        self
    }

    /// The same, in these media types.
    pub const fn types(mut self, types: &'static [&'static str]) -> Body {
        self.types = types;
        self
    }

    pub(super) fn shown(&self) -> Value {
        let examples: Map<String, Value> = (self.examples)()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!({"value": value})))
            .collect();
        let media = json!({"schema": (self.schema)(), "examples": examples});
        let content: Map<String, Value> = self
            .types
            .iter()
            .map(|name| ((*name).to_owned(), media.clone()))
            .collect();
        json!({"description": self.what, "required": self.is_required, "content": content})
    }
}

/// Makes an example.
type Example = fn() -> Value;

/// An answer that is no error.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub(super) status: u16,
    what: &'static str,
    media: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    example: Example,
    /// Another media type of the same schema, with its example.
    other: Option<(&'static str, Example)>,
    /// Whether it is a page of a list, which can be had in every format.
    is_page: bool,
    /// And more of them.
    more: &'static [(&'static str, Example)],
    headers: fn() -> Value,
    pub(super) links: &'static [Link],
}

impl Answer {
    /// A JSON answer: its status; what it is; the schema of what is sent (see [`of`](super::of)); an example.
    pub const fn new(
        status: u16,
        what: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
        example: Example,
    ) -> Answer {
        Answer {
            status,
            what,
            media: "application/json",
            schema,
            example,
            other: None,
            is_page: false,
            more: &[],
            headers: || json!({}),
            links: &[],
        }
    }

    /// A page of a list.
    pub const fn page(
        what: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
        example: Example,
    ) -> Answer {
        let mut answer = Answer::new(200, what, schema, example);
        answer.is_page = true;
        answer.headers = next_cursor;
        answer
    }

    /// The same in another media type.
    pub const fn media(mut self, media: &'static str) -> Answer {
        self.media = media;
        self
    }

    /// Or in that media type, if it is asked for; an example of that.
    pub const fn or(mut self, media: &'static str, example: Example) -> Answer {
        self.other = Some((media, example));
        self
    }

    /// Or in these.
    pub const fn or_any(mut self, more: &'static [(&'static str, Example)]) -> Answer {
        self.more = more;
        self
    }

    /// An answer without a body.
    pub const fn empty(status: u16, what: &'static str) -> Answer {
        let mut answer = Answer::new(status, what, super::plain_text, || Value::Null);
        answer.media = "";
        answer
    }

    /// With these headers, as OpenAPI writes them.
    pub const fn headers(mut self, headers: fn() -> Value) -> Answer {
        self.headers = headers;
        self
    }

    /// What can be asked next, with what this answer holds.
    pub const fn links(mut self, links: &'static [Link]) -> Answer {
        self.links = links;
        self
    }

    pub(super) fn shown(&self, schemas: &mut SchemaGenerator) -> Value {
        let types = [Some((self.media, self.example)), self.other];
        let mut content: Map<String, Value> = types
            .into_iter()
            .flatten()
            .chain(self.more.iter().copied())
            .filter(|(media, _)| !media.is_empty())
            .map(|(media, example)| {
                let shown = json!({"schema": (self.schema)(schemas), "example": example()});
                (media.to_owned(), shown)
            })
            .collect();
        if self.is_page {
            for format in [Format::JsonLines, Format::Csv] {
                let lines = json!({"schema": {"type": "string"}});
                content.insert(format.media().to_owned(), lines);
            }
        }
        let mut value = json!({
            "description": self.what,
            "headers": (self.headers)(),
        });
        if !content.is_empty() {
            value["content"] = content.into();
        }
        if !self.links.is_empty() {
            let links = self.links.iter();
            value["links"] = links
                .map(|it| (it.name.to_owned(), it.shown()))
                .collect::<Map<_, _>>()
                .into();
        }
        value
    }
}

/// The header of a page whose format has no place for the cursor.
fn next_cursor() -> Value {
    json!({NEXT_CURSOR: {
        "description": "The next page's `cursor`, with `format=jsonl` and `format=csv`; none: there is none.",
        "schema": {"type": "string"},
    }})
}

/// What can be asked next.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    name: &'static str,
    pub(super) operation: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    body: Option<fn() -> Value>,
}

impl Link {
    /// That operation, with these parameters: each a name and a runtime expression.
    pub const fn new(
        name: &'static str,
        operation: &'static str,
        parameters: &'static [(&'static str, &'static str)],
    ) -> Link {
        Link {
            name,
            operation,
            parameters,
            body: None,
        }
    }

    /// With this body, which may hold runtime expressions.
    pub const fn body(mut self, body: fn() -> Value) -> Link {
        self.body = Some(body);
        self
    }

    fn shown(&self) -> Value {
        let parameters = self.parameters.iter();
        let parameters: Map<String, Value> = parameters
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        let mut value = json!({"operationId": self.operation, "parameters": parameters});
        if let Some(body) = self.body {
            value["requestBody"] = body();
        }
        value
    }
}
