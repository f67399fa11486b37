//! What callers do, and what they are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError,
    api::{
        Actor, ConfigureRequest, CreateRequest, DownloadRequest, EnvVars, ExecuteRequest, ExecutionAnswer,
        ExportRequest, PreviewRequest, SandboxRequest, TemplateRequest, UploadRequest,
    },
};
use ringfence_server::Client;

use super::Shared;

/// Nothing takes longer, not even a call that waits for a daemon which is killed meanwhile.
const CALL_PATIENCE: Duration = Duration::from_secs(120);
/// Sandboxes of one caller.
const MINE_MAX: usize = 4;

/// xorshift64*: the same operations in every run of a seed.
pub(super) struct Random(u64);

impl Random {
    /// Of this seed, whatever it is.
    pub(super) fn new(seed: u64) -> Self {
        Self((seed ^ 0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below the bound, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// What callers were told, which a crash must not make untrue.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Sandboxes, with the lines that are in their file at least.
    pub(super) kept: BTreeMap<String, usize>,
    /// Deleted ones.
    pub(super) gone: BTreeSet<String>,
    /// Orders that a program was told are taken, and those whose answer nobody heard.
    pub(super) orders: BTreeSet<String>,
    /// Every name under which an order was tried.
    pub(super) tried: BTreeSet<String>,
    /// Templates that were exported and not deleted.
    pub(super) templates: BTreeSet<String>,
}

/// An order that is cancelled when it was taken. What was taken is printed at once.
const ORDER: &str = r#"
import json, requests
HEAD = {"APCA-API-KEY-ID": "any", "APCA-API-SECRET-KEY": "any", "Content-Type": "application/json"}
BASE = "https://paper-api.alpaca.markets/v2/orders"
body = json.dumps({"symbol": "MSFT", "qty": "1", "side": "buy", "type": "limit", "limit_price": "5",
                   "time_in_force": "day", "client_order_id": NAME})
answer = requests.post(BASE, headers=HEAD, data=body, timeout=60)
print("taken" if answer.status_code == 200 else f"not {answer.status_code}", flush=True)
if answer.status_code == 200 and CANCEL:
    requests.delete(f"{BASE}/{answer.json()['id']}", headers=HEAD, timeout=60)
"#;

fn named(id: &str) -> SandboxRequest {
    SandboxRequest { sandbox_id: id.to_owned() }
}

/// Runs a program to its end.
pub(super) async fn run(api: &Client, id: &str, language: &str, code: String) -> Result<ExecutionAnswer, ApiError> {
    let language = Some(language.to_owned());
    let request = ExecuteRequest { sandbox_id: id.to_owned(), code, language, ..ExecuteRequest::default() };
    api.execute(Actor::Operator, request).await
}

/// One caller: does one thing after another until it is over. A call that is refused or cut off is what a killed daemon
/// answers; one that never ends is a fault.
pub(super) async fn caller(shared: Arc<Shared>, number: u64, seed: u64) {
    let mut caller = Caller { shared, number, random: Random::new(seed), mine: Vec::new(), count: 0 };
    while !caller.shared.over.load(Ordering::Relaxed) {
        caller.count += 1;
        let what = caller.choose();
        match tokio::time::timeout(CALL_PATIENCE, caller.one(what)).await {
            Ok(done) => {
                caller.shared.note(what, done);
                if !done {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Err(_) => caller.shared.fault(format!("`{what}` has no answer after {} s", CALL_PATIENCE.as_secs())),
        }
    }
}

struct Caller {
    shared: Arc<Shared>,
    number: u64,
    random: Random,
    mine: Vec<String>,
    count: u64,
}

impl Caller {
    fn choose(&mut self) -> &'static str {
        if self.mine.is_empty() {
            return "create";
        }
        match self.random.below(100) {
            0..=13 if self.mine.len() < MINE_MAX => "create",
            0..=29 => "execute",
            30..=47 => "write",
            48..=55 => "file",
            56..=59 => "stop",
            60..=65 => "resume",
            66..=67 => "pause",
            68..=73 => "configure",
            74..=77 => "preview",
            78..=86 => "order",
            87 => "export",
            _ => "delete",
        }
    }

    fn told<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        change(&mut self.shared.told.lock().expect("nothing panics under this lock"))
    }

    /// Does it; whether it was answered well.
    async fn one(&mut self, what: &'static str) -> bool {
        let api = self.shared.daemon.api();
        if what == "create" {
            return self.create(&api).await;
        }
        let at = self.random.below(self.mine.len() as u64) as usize;
        let id = self.mine[at].clone();
        match what {
            "execute" => {
                let n = self.random.below(1_000_000);
                let ran = run(&api, &id, "python", format!("print({n} * 3)")).await;
                match ran {
                    Ok(answer) if answer.success => {
                        if answer.output != format!("{}\n", n * 3) {
                            self.shared.fault(format!("{id} printed {:?} in place of {}", answer.output, n * 3));
                        }
                        true
                    }
                    // It may be stopped: by a restart, or by its caller.
                    _ => false,
                }
            }
            "write" => match run(&api, &id, "bash", "echo line >> kept && sync".into()).await {
                Ok(answer) if answer.success => {
                    self.told(|told| *told.kept.entry(id).or_default() += 1);
                    true
                }
                _ => api.resume(Actor::Operator, named(&id)).await.is_ok(),
            },
            "file" => self.file(&api, &id).await,
            "stop" => api.stop(Actor::Operator, named(&id)).await.is_ok(),
            "pause" => api.pause(Actor::Operator, named(&id)).await.is_ok(),
            "resume" => api.resume(Actor::Operator, named(&id)).await.is_ok(),
            "configure" => {
                let value = self.count.to_string();
                let env_vars = EnvVars::new([("SOAK".to_owned(), value)].into());
                let request = ConfigureRequest { sandbox_id: id, env_vars, ..ConfigureRequest::default() };
                api.configure(Actor::Operator, request).await.is_ok()
            }
            "preview" => {
                let public = Some(self.random.below(2) == 0);
                let request = PreviewRequest { sandbox_id: id, port: 8000, public, rotate: false };
                api.preview(Actor::Operator, request).await.is_ok()
            }
            "order" => self.order(&api, &id).await,
            "export" => self.export(&api, &id).await,
            _ => {
                // What became of it is known only when the answer came.
                self.mine.remove(at);
                self.told(|told| told.kept.remove(&id));
                let deleted = api.delete(Actor::Operator, named(&id)).await.is_ok();
                if deleted {
                    self.told(|told| told.gone.insert(id));
                }
                deleted
            }
        }
    }

    async fn create(&mut self, api: &Client) -> bool {
        let allow = serde_json::json!({"allow": [{"host": "paper-api.alpaca.markets"}]});
        let request = CreateRequest {
            template: "python".into(),
            network: serde_json::from_value(allow).ok(),
            timeout: Some(24 * 3600),
            ..CreateRequest::default()
        };
        match api.create(Actor::Operator, request, None).await {
            Ok(made) => {
                let id = made.sandbox_id.to_string();
                self.told(|told| told.kept.insert(id.clone(), 0));
                self.mine.push(id);
                true
            }
            Err(_) => false,
        }
    }

    async fn file(&mut self, api: &Client, id: &str) -> bool {
        let content = format!("{} {}", self.number, self.count).repeat(100);
        let file_path = "up/loaded".to_owned();
        let upload = UploadRequest {
            sandbox_id: id.to_owned(),
            file_path: file_path.clone(),
            content: Some(content.clone()),
            content_base64: None,
        };
        if api.upload(Actor::Operator, upload).await.is_err() {
            return false;
        }
        let read = run(api, id, "bash", format!("cat {file_path}")).await;
        match read {
            // Nobody else has this sandbox.
            Ok(answer) if answer.success && answer.output != content => {
                self.shared.fault(format!("{id} has another file than was written"));
                false
            }
            Ok(answer) if answer.success => {
                let download = DownloadRequest { sandbox_id: id.to_owned(), file_path };
                api.download(Actor::Operator, download).await.is_ok()
            }
            _ => false,
        }
    }

    async fn order(&mut self, api: &Client, id: &str) -> bool {
        let name = format!("soak-{}-{}", self.number, self.count);
        self.told(|told| told.tried.insert(name.clone()));
        let cancel = if self.random.below(8) == 0 { "False" } else { "True" };
        let code = format!("NAME, CANCEL = {name:?}, {cancel}\n{ORDER}");
        match run(api, id, "python", code).await {
            Ok(answer) if answer.output.starts_with("taken") => {
                self.told(|told| told.orders.insert(name));
                true
            }
            _ => false,
        }
    }

    async fn export(&mut self, api: &Client, id: &str) -> bool {
        let name = format!("soak-{}-{}", self.number, self.count);
        let request: Result<ExportRequest, _> =
            serde_json::from_value(serde_json::json!({"sandbox_id": id, "template_name": name}));
        let Ok(request) = request else {
            self.shared.fault("a request to export is not what it was".into());
            return false;
        };
        self.told(|told| told.templates.insert(name.clone()));
        if api.export_template(Actor::Operator, request, None).await.is_err() {
            return false;
        }
        let deleted = api.template_delete(Actor::Operator, TemplateRequest { template_name: name.clone() }).await;
        if deleted.is_ok() {
            self.told(|told| told.templates.remove(&name));
        }
        deleted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_and_another_is_another() {
        let of = |seed| {
            let mut random = Random::new(seed);
            (0..20).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert!(of(0).iter().any(|n| *n > 0));
    }
}
