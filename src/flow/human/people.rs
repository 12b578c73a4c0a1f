//! Whom a question asks, how many of them must agree, and when they are asked again.

use super::check::{Params, is_lone_expression};
use crate::flow::approval::{Ask, Channel, Mode, OnTimeout};
use crate::flow::expr::Template;
use crate::flow::human::{MAX_RECIPIENT, MAX_RECIPIENTS, MAX_REMINDERS, Recipients};
use crate::flow::source::{Data, Node};

const ESCALATE_KEYS: [&str; 2] = ["after", "recipient"];

impl Params<'_, '_, '_> {
    pub(super) fn need(&mut self, mode: Option<Mode>) -> usize {
        let Some(need) = self.count("need").filter(|need| *need > 1) else {
            return 1;
        };
        let (Some(node), Some(mode)) = (self.given("need"), mode) else {
            return need;
        };
        if !matches!(mode, Mode::Approval | Mode::Choices) {
            let message = format!(
                "`need` above 1 belongs to the modes `approval` and `choices`; this step's is `{}`",
                mode.as_str()
            );
            self.problem(node, "need", message);
        }
        match self.given("recipients").map(|list| &list.data) {
            None => self.problem(node, "need", "`need` above 1 needs `recipients`"),
            Some(Data::List(who)) if who.len() < need => {
                let message = format!("`need` is {need}, but `recipients` has only {}", who.len());
                self.problem(node, "need", message);
            }
            Some(_) => {}
        }
        need
    }

    pub(super) fn remind(&mut self, channel: Channel, timeout_ms: u64) -> Vec<u64> {
        let Some(node) = self.given("remind") else {
            return Vec::new();
        };
        let at = self.pointer("remind");
        let Some(items) = self.reader.list(node, &at, "`remind`") else {
            return Vec::new();
        };
        if items.len() > MAX_REMINDERS {
            let message = format!("`remind` has at most {MAX_REMINDERS} reminders");
            self.problem(node, "remind", message);
            return Vec::new();
        }
        if channel == Channel::None && !items.is_empty() {
            let message = "`remind` needs a `channel`: with `none`, nobody is told";
            self.problem(node, "remind", message);
        }
        let mut remind: Vec<u64> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}/{index}");
            let Some(ms) = self.duration_at(item, &at, "remind") else {
                continue;
            };
            if remind.last().is_some_and(|last| *last >= ms) {
                let message =
                    "`remind` counts from the question: each must be longer than the one before";
                self.reader.problem(item, &at, message);
            }
            if ms >= timeout_ms {
                let message = "the question has timed out by then";
                self.reader.problem(item, &at, message);
            }
            remind.push(ms);
        }
        remind
    }

    pub(super) fn recipients(&mut self, frame: &Ask) -> Recipients {
        match (self.given("recipient"), self.given("recipients")) {
            (None, None) => {
                if frame.channel != Channel::None {
                    let at = self.at.clone();
                    let message =
                        "`human` needs a `recipient`; only with `channel: none` may it be left out";
                    self.reader.problem(self.node, &at, message);
                }
                Recipients::Anyone
            }
            (Some(_), Some(node)) => {
                let message = "`human` takes only one of `recipient`, `recipients`";
                self.problem(node, "recipients", message);
                Recipients::Anyone
            }
            (Some(node), None) => {
                let at = self.pointer("recipient");
                let one = self.text(node, &at, "recipient", MAX_RECIPIENT);
                one.map_or(Recipients::Anyone, Recipients::One)
            }
            (None, Some(node)) => self.many(node),
        }
    }

    fn many(&mut self, node: &Node) -> Recipients {
        let at = self.pointer("recipients");
        let Data::List(items) = &node.data else {
            if is_lone_expression(node) {
                return Recipients::Many(self.reader.template(node, &at, false));
            }
            let message = format!(
                "`recipients` must be an array of texts, got {}",
                node.what()
            );
            self.problem(node, "recipients", message);
            return Recipients::Anyone;
        };
        if items.is_empty() {
            let message = "`recipients` is empty: nobody would be asked";
            self.problem(node, "recipients", message);
        }
        if items.len() > MAX_RECIPIENTS {
            let message = format!("`recipients` names at most {MAX_RECIPIENTS} people");
            self.problem(node, "recipients", message);
            return Recipients::Anyone;
        }
        let mut templates = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}/{index}");
            templates.extend(self.text(item, &at, "recipients", MAX_RECIPIENT));
        }
        Recipients::Many(Template::List(templates))
    }

    pub(super) fn escalate(
        &mut self,
        frame: &Ask,
        recipients: &Recipients,
    ) -> Option<(u64, Template)> {
        let node = self.given("escalate")?;
        let at = self.pointer("escalate");
        for entry in self.reader.map(node, &at, "`escalate`")? {
            if !ESCALATE_KEYS.contains(&entry.key.as_str()) {
                self.reader.unknown_key(entry, &at, ESCALATE_KEYS);
            }
        }
        let is_anyone = matches!(recipients, Recipients::Anyone)
            && self.given("recipient").is_none()
            && self.given("recipients").is_none();
        if is_anyone {
            let message =
                "`escalate` needs a `recipient` to begin with: this question anyone may answer";
            self.problem(node, "escalate", message);
        }
        let after = self.after(node, &at, frame);
        let Some(who) = node.get("recipient") else {
            let message = "`escalate` needs a `recipient`: who else is asked";
            self.problem(node, "escalate", message);
            return None;
        };
        let who = self.text(who, &format!("{at}/recipient"), "recipient", MAX_RECIPIENT)?;
        Some((after, who))
    }

    /// When the question is escalated: before it times out, or, where that is what escalates it, just then.
    fn after(&mut self, node: &Node, at: &str, frame: &Ask) -> u64 {
        let given = node.get("after").filter(|after| after.data != Data::Null);
        match given {
            Some(after) => {
                let at = format!("{at}/after");
                let ms = self.duration_at(after, &at, "after");
                if ms.is_some_and(|ms| ms >= frame.timeout_ms) {
                    let message = "the question has timed out by then; `on_timeout: escalate` without `after` escalates it when it does";
                    self.reader.problem(after, &at, message);
                }
                ms.unwrap_or_default()
            }
            None => {
                if frame.on_timeout != OnTimeout::Escalate {
                    let message = "`escalate` needs `after`, or `on_timeout: escalate`";
                    self.problem(node, "escalate", message);
                }
                frame.timeout_ms
            }
        }
    }
}
