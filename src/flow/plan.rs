//! What a run does next: the definition, replayed over what is on record.
//!
//! Pure. What is final on record is never evaluated again; what needs nothing from outside is evaluated here; the first
//! step that needs something from outside ends the plan.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::flow::approval::Ask;
use crate::flow::expr::{SecretMark, Template};
use crate::flow::names::kind_of;
use crate::flow::scope::{Scope, StepView};
use crate::flow::step::{ErrorClass, StepError, StepRecord, StepResult, StepStart, StepStatus};
use crate::flow::values::as_text;
use crate::flow::workflow::{
    Action, Condition, Delay, FieldKind, KindAction, OnFailure, Step, Workflow,
};
use crate::time::{Timestamp, parse_duration};

/// What was found out on the way, and what is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Steps that came to their end, in order of execution; to be recorded.
    pub results: Vec<StepResult>,
    /// What comes then.
    pub then: Then,
}

/// What a run does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// A try of a step is to be made.
    Start(StepStart),
    /// The run waits for a time.
    Park {
        /// The step that waits.
        path: String,
        /// Its action key.
        kind: String,
        /// Its rendered parameters, secrets masked; null if they cannot be rendered.
        input: Value,
        /// Until when.
        until: Timestamp,
    },
    /// A person is asked, and the run waits for the answer. Where the step is on record as waiting, its question is
    /// already asked.
    Ask {
        /// The step that asks; its action key is `human`.
        path: String,
        /// What is asked, rendered.
        ask: Box<Ask>,
    },
    /// The run is done.
    Complete {
        /// Its output.
        output: Value,
    },
    /// The run has failed.
    Fail {
        /// The step at fault; `None`: the run's output could not be rendered.
        step: Option<String>,
        /// Why.
        error: StepError,
    },
}

/// Decides what a run does next. `run` is what `{{ run.* }}` shows; `records` are in any order, one a path.
pub fn plan(
    workflow: &Workflow,
    inputs: &Map<String, Value>,
    run: &Value,
    records: &[StepRecord],
    mark: &SecretMark,
    now: Timestamp,
) -> Plan {
    let scope = Scope {
        inputs,
        declared: workflow
            .inputs
            .iter()
            .map(|input| input.name.as_str())
            .collect(),
        run,
        steps: HashMap::with_capacity(records.len()),
        top: workflow.steps.iter().map(|step| step.id.as_str()).collect(),
    };
    let records = records
        .iter()
        .map(|record| (record.path.as_str(), record))
        .collect();
    let mut walk = Walk {
        scope,
        records,
        mark,
        now,
        results: Vec::new(),
    };
    let then = match walk.steps(&workflow.steps, true) {
        Err(then) => *then,
        Ok(()) => walk.output(workflow),
    };
    Plan {
        results: walk.results,
        then,
    }
}

struct Walk<'a> {
    scope: Scope<'a>,
    records: HashMap<&'a str, &'a StepRecord>,
    mark: &'a SecretMark,
    now: Timestamp,
    results: Vec<StepResult>,
}

/// The walk goes on, or it ends here.
type Onward = Result<(), Box<Then>>;

fn failure(message: String) -> StepError {
    StepError {
        class: ErrorClass::Step,
        message,
    }
}

impl<'a> Walk<'a> {
    /// `taken`: whether the branch that these steps stand in is.
    fn steps(&mut self, steps: &'a [Step], taken: bool) -> Onward {
        steps.iter().try_for_each(|step| self.step(step, taken))
    }

    fn step(&mut self, step: &'a Step, taken: bool) -> Onward {
        let record = self.records.get(step.path.as_str()).copied();
        match record {
            Some(record) if record.status.is_final() => self.recorded(step, record)?,
            _ if !taken => self.skip(step),
            _ => self.open(step, record)?,
        }
        match &step.action {
            Action::Condition(condition) => self.branches(step, condition),
            Action::Set(_) | Action::Delay(_) | Action::Human(_) | Action::Kind(_) => Ok(()),
        }
    }

    /// Both branches: the one that was chosen runs, the other is skipped. Neither is chosen unless the condition was
    /// answered.
    fn branches(&mut self, step: &'a Step, condition: &'a Condition) -> Onward {
        let answer = self
            .scope
            .steps
            .get(step.id.as_str())
            .and_then(|view| view.output.as_bool());
        self.steps(&condition.then, answer == Some(true))?;
        self.steps(&condition.otherwise, answer == Some(false))
    }

    /// A step that is final on record.
    fn recorded(&mut self, step: &'a Step, record: &'a StepRecord) -> Onward {
        static NULL: Value = Value::Null;
        let output = if record.status == StepStatus::Completed {
            &record.output
        } else {
            &NULL
        };
        let error = match record.status {
            StepStatus::Failed | StepStatus::Cancelled => {
                Some(record.error.as_deref().unwrap_or("the step failed"))
            }
            _ => None,
        };
        let view = StepView {
            output: Cow::Borrowed(output),
            error: error.map(Cow::Borrowed),
            meta: record.meta.as_ref(),
        };
        self.scope.steps.insert(&step.id, view);
        let end = |class, message: &str| {
            let error = StepError {
                class,
                message: message.to_owned(),
            };
            Err(Box::new(Then::Fail {
                step: Some(step.path.clone()),
                error,
            }))
        };
        match (record.status, error) {
            (StepStatus::Cancelled, _) => end(ErrorClass::Cancelled, "the step was cancelled"),
            (StepStatus::Failed, Some(message)) if step.on_failure == OnFailure::Terminate => {
                end(ErrorClass::Step, message)
            }
            _ => Ok(()),
        }
    }

    fn skip(&mut self, step: &'a Step) {
        self.view(step, Value::Null, None);
        self.result(step, StepStatus::Skipped, Value::Null, Value::Null, None);
    }

    /// A step that is not final: it may be on record as interrupted or waiting.
    fn open(&mut self, step: &'a Step, record: Option<&'a StepRecord>) -> Onward {
        // Once a step is on record, its `if` has been answered.
        if let (None, Some(test)) = (record, &step.only_if) {
            match test.eval(&self.scope, self.mark) {
                Ok((true, _)) => {}
                Ok((false, _)) => {
                    self.skip(step);
                    return Ok(());
                }
                Err(fault) => {
                    return self.fail(step, Value::Null, format!("`if`: {}", fault.message()));
                }
            }
        }
        match &step.action {
            Action::Set(template) => match template.render(&self.scope, self.mark) {
                Ok(value) => self.complete(step, &value.clone(), value),
                Err(fault) => return self.fail(step, Value::Null, fault.message()),
            },
            Action::Condition(condition) => match condition.test.eval(&self.scope, self.mark) {
                Ok((holds, shown)) => self.complete(step, &shown, Value::Bool(holds)),
                Err(fault) => return self.fail(step, Value::Null, fault.message()),
            },
            Action::Delay(delay) => return self.delay(step, delay, record),
            Action::Human(human) => {
                return match human.ask(&self.scope, self.mark) {
                    Ok(ask) => Err(Box::new(Then::Ask {
                        path: step.path.clone(),
                        ask: Box::new(ask),
                    })),
                    Err(message) => self.fail(step, Value::Null, message),
                };
            }
            Action::Kind(action) => return self.leave(step, action, record),
        }
        Ok(())
    }

    fn delay(
        &mut self,
        step: &'a Step,
        delay: &'a Delay,
        record: Option<&'a StepRecord>,
    ) -> Onward {
        let (input, until) = match self.delay_until(delay) {
            Ok((input, until)) => (
                input,
                record.and_then(|record| record.due_at).unwrap_or(until),
            ),
            Err(message) => return self.fail(step, Value::Null, message),
        };
        if until <= self.now {
            self.complete(step, &input, Value::Null);
            return Ok(());
        }
        Err(Box::new(Then::Park {
            path: step.path.clone(),
            kind: "delay".to_owned(),
            input,
            until,
        }))
    }

    fn delay_until(&self, delay: &Delay) -> Result<(Value, Timestamp), String> {
        let render = |template: &Template| {
            template
                .render(&self.scope, self.mark)
                .map(|value| as_text(&value))
                .map_err(|fault| fault.message())
        };
        match delay {
            Delay::For(template) => {
                let text = render(template)?;
                let duration = parse_duration(&text)?;
                Ok((Value::from(text), self.now.plus(duration)))
            }
            Delay::Until(template) => {
                let text = render(template)?;
                let until = Timestamp::parse(&text).ok_or_else(|| {
                    format!("expected a time such as 2027-01-01T00:00:00Z, got {text:?}")
                })?;
                Ok((json!({ "until": text }), until))
            }
        }
    }

    /// A step that leaves the process: start it, or go on waiting for its next try.
    fn leave(
        &mut self,
        step: &'a Step,
        action: &'a KindAction,
        record: Option<&'a StepRecord>,
    ) -> Onward {
        let rendered = self.input(action);
        let waits = record
            .filter(|record| record.status == StepStatus::Waiting)
            .and_then(|record| record.due_at)
            .filter(|due| *due > self.now);
        if let Some(until) = waits {
            let input = rendered
                .map(|input| self.mark.mask(&input))
                .unwrap_or(Value::Null);
            return Err(Box::new(Then::Park {
                path: step.path.clone(),
                kind: action.kind.clone(),
                input,
                until,
            }));
        }
        match rendered {
            Err(message) => self.fail(step, Value::Null, message),
            Ok(input) => Err(Box::new(Then::Start(StepStart {
                path: step.path.clone(),
                kind: action.kind.clone(),
                input,
                failures: record.map_or(0, |record| record.failures),
                timeout: step.timeout,
                host_from_template: action
                    .fields
                    .iter()
                    .any(|field| field.kind == FieldKind::Url && field.template.decides_host()),
            }))),
        }
    }

    fn input(&self, action: &KindAction) -> Result<Value, String> {
        let mut input = Map::new();
        for field in &action.fields {
            let name = format!("`{}.{}`", action.kind, field.name);
            let value = field
                .template
                .render(&self.scope, self.mark)
                .map_err(|fault| format!("{name}: {}", fault.message()))?;
            // A template that gives null leaves an optional field out.
            if value.is_null() && field.kind != FieldKind::Any && !field.required {
                continue;
            }
            let value = fit(field.kind, value).map_err(|why| format!("{name} {why}"))?;
            input.insert(field.name.clone(), value);
        }
        Ok(Value::Object(input))
    }

    fn complete(&mut self, step: &'a Step, input: &Value, output: Value) {
        self.view(step, output.clone(), None);
        let input = self.mark.mask(input);
        self.result(step, StepStatus::Completed, input, output, None);
    }

    fn fail(&mut self, step: &'a Step, input: Value, message: String) -> Onward {
        let error = failure(message.clone());
        self.view(step, Value::Null, Some(message));
        self.result(
            step,
            StepStatus::Failed,
            input,
            Value::Null,
            Some(error.clone()),
        );
        match step.on_failure {
            OnFailure::Terminate => Err(Box::new(Then::Fail {
                step: Some(step.path.clone()),
                error,
            })),
            OnFailure::Continue => Ok(()),
        }
    }

    fn view(&mut self, step: &'a Step, output: Value, error: Option<String>) {
        let view = StepView {
            output: Cow::Owned(output),
            error: error.map(Cow::Owned),
            meta: None,
        };
        self.scope.steps.insert(&step.id, view);
    }

    fn result(
        &mut self,
        step: &Step,
        status: StepStatus,
        input: Value,
        output: Value,
        error: Option<StepError>,
    ) {
        let (path, kind) = (step.path.clone(), step.action.kind().to_owned());
        self.results.push(StepResult {
            path,
            kind,
            status,
            input,
            output,
            error,
        });
    }

    fn output(&self, workflow: &Workflow) -> Then {
        let Some(template) = &workflow.output else {
            let last = workflow
                .steps
                .last()
                .and_then(|step| self.scope.steps.get(step.id.as_str()));
            return Then::Complete {
                output: last.map_or(Value::Null, |view| view.output.as_ref().clone()),
            };
        };
        match template.render(&self.scope, self.mark) {
            Ok(output) => Then::Complete { output },
            Err(fault) => Then::Fail {
                step: None,
                error: failure(format!("`output`: {}", fault.message())),
            },
        }
    }
}

/// The rendered value as the field wants it, or why it cannot be that.
fn fit(kind: FieldKind, value: Value) -> Result<Value, String> {
    let (fits, expected) = match kind {
        FieldKind::Any => return Ok(value),
        FieldKind::Text | FieldKind::Url => return Ok(Value::from(as_text(&value))),
        FieldKind::Number => (value.is_number(), "a number"),
        FieldKind::Boolean => (value.is_boolean(), "a boolean"),
        FieldKind::Array => (value.is_array(), "an array"),
        FieldKind::Object => (value.is_object(), "an object"),
        FieldKind::OneOf(words) => match value.as_str() {
            Some(word) if words.contains(&word) => return Ok(value),
            _ => {
                return Err(format!(
                    "must be one of {}, got {}",
                    words.join(", "),
                    short(&value)
                ));
            }
        },
        FieldKind::TextList => match value {
            Value::Array(items)
                if items
                    .iter()
                    .all(|item| !item.is_array() && !item.is_object()) =>
            {
                return Ok(items.iter().map(as_text).collect());
            }
            other => {
                return Err(format!(
                    "must be an array of texts, got {}",
                    kind_of(&other)
                ));
            }
        },
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("must be {expected}, got {}", kind_of(&value)))
    }
}

fn short(value: &Value) -> String {
    crate::flow::names::excerpt(&value.to_string())
}
