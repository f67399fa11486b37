//! What `fuzz/` calls of requests and websockets.

mod http;
mod strict;
mod websocket;

pub use http::fuzz_http;
pub use websocket::fuzz_websocket;

use std::sync::{Arc, LazyLock};

use hyper::http::HeaderName;
use ringfence_store::SecretValue;

use crate::secret::{Binding, BoundSecret, Destination, Injector, Placeholder, Placement};

/// Where everything goes.
const HOST: &str = "api.example.com";
/// What a sandbox has, and what stands for it outside.
const PLACEHOLDER: &str = "PKX0Q7ZT3M9L2V8B4N6C1D5F7G9";
const VALUE: &str = "the\"real\\value";
/// Of a secret that is bound elsewhere.
const OTHER_PLACEHOLDER: &str = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3gH5jK7m";
const OTHER_VALUE: &str = "another/real+value";
const HEADER: HeaderName = HeaderName::from_static("x-key");
const FIELD: &str = "key";

const TO: Destination<'_> = Destination { host: HOST, port: 443, secure: true };

static INJECTOR: LazyLock<Injector> = LazyLock::new(|| {
    let secret = |name: &str, placeholder: &str, value: &str, host: &str| BoundSecret {
        name: name.into(),
        placeholder: Placeholder::from_text(placeholder).expect("a placeholder"),
        value: Some(Arc::new(SecretValue::new(value))),
        binding: Binding {
            hosts: vec![host.into()],
            ports: vec![443],
            placements: vec![Placement::Header(HEADER), Placement::FirstFrame { fields: vec![FIELD.into()] }],
            sign: None,
        },
    };
    let secrets = vec![
        secret("KEY", PLACEHOLDER, VALUE, HOST),
        secret("OTHER", OTHER_PLACEHOLDER, OTHER_VALUE, "elsewhere.example"),
    ];
    Injector::new(secrets).expect("a set of secrets")
});

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Runs a future that waits for nothing but itself.
fn run<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

#[cfg(test)]
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(directory).expect("a directory of seeds").map(|entry| entry.expect("a seed"));
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file")))
        .collect()
}
