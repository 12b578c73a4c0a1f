//! Markdown of a question's context as HTML that can do nothing.
//!
//! Everything is written anew from what the parser saw: tags of our own, and escaped text. HTML in it is shown as text,
//! images by their description, and only links to the web and to mail addresses lead anywhere.

use maud::{Escaper, Markup, PreEscaped};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::fmt::Write;

/// How deep lists and quotations may lie in one another: on a phone there is room for no more. What is deeper loses its
/// frame, not its text.
const DEPTH: usize = 6;

/// The schemes that a link may have.
const SCHEMES: [&str; 3] = ["http", "https", "mailto"];

/// A text with the characters made visible that would show it as what it is not: controls, and the overrides of the
/// direction of writing.
pub fn plain(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' | '\t' => c,
        '\r' => ' ',
        '\u{202d}' | '\u{202e}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(visible).collect()
}

/// The text, rendered.
pub fn rendered(text: &str) -> Markup {
    let text = plain(text);
    let mut out = Out {
        html: String::with_capacity(text.len() + 64),
        open: Vec::new(),
        depth: 0,
    };
    for event in Parser::new_ext(&text, Options::ENABLE_STRIKETHROUGH) {
        out.event(event);
    }
    PreEscaped(out.html)
}

/// Where a link may lead, if it may lead anywhere.
fn harmless(url: &str) -> Option<String> {
    let url = url::Url::parse(url.trim()).ok()?;
    let is_known = SCHEMES.contains(&url.scheme());
    // `https://bank.example@evil.example` reads as what it is not.
    let has_user = !url.username().is_empty() || url.password().is_some();
    (is_known && (url.scheme() == "mailto" || !has_user)).then(|| url.to_string())
}

struct Out {
    html: String,
    /// What closes the tags that are open.
    open: Vec<&'static str>,
    depth: usize,
}

impl Out {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(end) => self.end(end),
            Event::Code(text) => {
                self.html.push_str("<code>");
                self.text(&text);
                self.html.push_str("</code>");
            }
            Event::SoftBreak => self.html.push('\n'),
            Event::HardBreak => self.html.push_str("<br>"),
            Event::Rule => self.html.push_str("<hr>"),
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.text(&text),
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn text(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _ = Escaper::new(&mut self.html).write_str(text);
    }

    fn start(&mut self, tag: &Tag<'_>) {
        let (open, close) = match tag {
            Tag::Paragraph => ("<p>", "</p>"),
            // The page has its own headings.
            Tag::Heading { .. } => ("<p><strong>", "</strong></p>"),
            Tag::BlockQuote(_) | Tag::List(_) if self.depth >= DEPTH => ("", ""),
            // An item has its frame where its list has one.
            Tag::Item if self.open.last().is_none_or(|close| close.is_empty()) => ("", ""),
            Tag::BlockQuote(_) => ("<blockquote>", "</blockquote>"),
            Tag::List(Some(_)) => ("<ol>", "</ol>"),
            Tag::List(None) => ("<ul>", "</ul>"),
            Tag::Item => ("<li>", "</li>"),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                ("<pre tabindex=\"0\"><code>", "</code></pre>")
            }
            Tag::Emphasis => ("<em>", "</em>"),
            Tag::Strong => ("<strong>", "</strong>"),
            Tag::Strikethrough => ("<del>", "</del>"),
            Tag::Link { dest_url, .. } => match harmless(dest_url) {
                Some(url) => {
                    self.html.push_str("<a rel=\"noreferrer noopener\" href=\"");
                    self.text(&url);
                    ("\">", "</a>")
                }
                None => ("", ""),
            },
            // What is left is text without a frame: images show their description.
            _ => ("", ""),
        };
        if matches!(tag, Tag::BlockQuote(_) | Tag::List(_)) {
            self.depth += 1;
        }
        self.html.push_str(open);
        self.open.push(close);
    }

    fn end(&mut self, end: TagEnd) {
        if matches!(end, TagEnd::BlockQuote(_) | TagEnd::List(_)) {
            self.depth = self.depth.saturating_sub(1);
        }
        self.html.push_str(self.open.pop().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_rendered() {
        for (text, html) in [
            (
                "a *b* **c** `d`",
                "<p>a <em>b</em> <strong>c</strong> <code>d</code></p>",
            ),
            ("# T", "<p><strong>T</strong></p>"),
            ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
            ("1. a", "<ol><li>a</li></ol>"),
            ("> q", "<blockquote><p>q</p></blockquote>"),
            (
                "[t](https://a.example/x?a=1&b=2)",
                "<p><a rel=\"noreferrer noopener\" href=\"https://a.example/x?a=1&amp;b=2\">t</a></p>",
            ),
            (
                "<mailto:a@b.example>",
                "<p><a rel=\"noreferrer noopener\" href=\"mailto:a@b.example\">mailto:a@b.example</a></p>",
            ),
        ] {
            assert_eq!(rendered(text).0, html, "{text}");
        }
    }

    #[test]
    fn nothing_in_it_does_anything() {
        for hostile in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<iframe srcdoc='<script>'>",
            "![alt](https://evil.example/track.png)",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](java\tscript:alert(1))",
            "[x](data:text/html,<script>)",
            "[x](vbscript:x)",
            "[x](//evil.example)",
            "[x](/approve/other)",
            "[x](https://bank.example@evil.example/)",
            "[x](https://a.example/\"onmouseover=alert(1))",
            "<https://a.example/\"><script>alert(1)</script>>",
            "```\n</code></pre><script>alert(1)</script>\n```",
            "&lt;script&gt;",
        ] {
            let html = rendered(hostile).0;
            for word in [
                "<script",
                "<img",
                "<iframe",
                "javascript:alert(1)\"",
                "data:text",
                " onmouseover=",
                "\"onmouseover=",
            ] {
                let inside = html.to_ascii_lowercase().contains(word);
                assert!(!inside, "{hostile} became {html}");
            }
            let hrefs = html.matches("href=\"").count();
            assert_eq!(
                hrefs,
                html.matches("href=\"https://a.example/").count(),
                "{html}"
            );
        }
        assert_eq!(
            rendered("![a cat](https://x.example/c.png)").0,
            "<p>a cat</p>"
        );
    }

    #[test]
    fn depth_is_bounded_and_text_is_kept() {
        let html = rendered(&format!("{} deep", ">".repeat(5_000))).0;
        assert!(html.contains("deep"), "{}", html.len());
        assert_eq!(html.matches("<blockquote>").count(), DEPTH);
        assert_eq!(html.matches("</blockquote>").count(), DEPTH);
    }

    #[test]
    fn items_lie_in_lists_however_deep_they_are() {
        let html = rendered(&format!("{}deep\n\n- flat", "- ".repeat(DEPTH + 3))).0;
        for tag in ["<ul>", "</ul>", "<li>", "</li>"] {
            assert_eq!(
                html.matches(tag).count(),
                DEPTH + tag.contains("li") as usize,
                "{html}"
            );
        }
    }

    #[test]
    fn overrides_and_controls_are_made_visible() {
        assert_eq!(
            plain("a\u{202e}b\u{0}c\u{85}\nd"),
            "a\u{fffd}b\u{fffd}c\u{fffd}\nd"
        );
        assert!(rendered("gpj.\u{202e}exe").0.contains('\u{fffd}'));
    }
}
