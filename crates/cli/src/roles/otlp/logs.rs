//! Events as log records: the same fields as in a line of the log, behind the same mask.

use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry_sdk::logs::SdkLogger;
use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::super::log::{Seen, masked};

pub(super) struct Logs(SdkLogger);

impl Logs {
    pub(super) fn new(logger: SdkLogger) -> Self {
        Self(logger)
    }
}

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (target, Seen { message, fields }) = Seen::of(event);
        let level = event.metadata().level();
        let mut record = self.0.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(severity(*level));
        record.set_severity_text(level.as_str());
        record.set_body(masked(&message).into());
        record.set_target(target);
        record.add_attributes(fields.into_iter().map(|(name, value)| (name, attribute(value))));
        self.0.emit(record);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

fn attribute(value: Value) -> AnyValue {
    match value {
        Value::Bool(is) => is.into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(real)) => real.into(),
            (None, None) => number.to_string().into(),
        },
        Value::String(text) => masked(&text).into(),
        other => masked(&other.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_doors_is_in_no_attribute() {
        let token = "0123456789abcdef0123456789abcdef";
        let shown = attribute(Value::String(format!("Bearer {token}")));
        assert_eq!(shown, AnyValue::from("Bearer [hidden]".to_owned()));
        assert_eq!(attribute(serde_json::json!(-3)), AnyValue::Int(-3));
        assert_eq!(attribute(serde_json::json!(true)), AnyValue::Boolean(true));
    }
}
