//! Every template: a new sandbox of it with a first program, from a full shelf and without one; and programs of Node beside Node itself.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use ringfence_engine::api::SharedSandboxes;
use ringfence_model::api::{
    Actor, BuildRequest, CreateRequest, ExecuteRequest, ExecutionStatus, LimitsRequest, SandboxRequest, TemplateRequest,
};

use super::{contender, result::Row, subject::Subject};
use crate::{output, progress};

/// Templates, the language of their programs, and what is around a number in a program that prints it.
const TEMPLATES: [(&str, &str, [&str; 2]); 5] = [
    ("python", "python", ["print(", ")"]),
    ("node", "javascript", ["console.log(", ")"]),
    ("react", "javascript", ["console.log(", ")"]),
    ("nextjs", "javascript", ["console.log(", ")"]),
    ("base", "bash", ["echo ", ""]),
];

struct Template {
    api: SharedSandboxes,
    name: &'static str,
    language: &'static str,
    around: [&'static str; 2],
}

/// Builds the templates that are not there, and measures each.
///
/// # Errors
/// One cannot be built, a request was refused, or an output was wrong.
pub(super) async fn run(api: &SharedSandboxes, home: &Path, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, language, around) in TEMPLATES {
        let begin = Instant::now();
        let (sender, shown) = progress::shown(&format!("template {name}"));
        let request = BuildRequest { template_name: name.to_owned(), rebuild: false, recipe: None, image: None };
        let built = api.build(Actor::Operator, request, Some(sender)).await;
        shown.end().await;
        built.with_context(|| format!("building the template {name}"))?;
        output::note(&format!("bench: template {name} (there after {:.1} s)", begin.elapsed().as_secs_f64()));
        let template = Template { api: api.clone(), name, language, around };
        rows.extend(template.measure(rounds).await?);
        if name == "node" {
            rows.extend(template.beside_node(home, rounds).await?);
        }
    }
    Ok(rows)
}

impl Template {
    async fn measure(&self, rounds: u32) -> anyhow::Result<Vec<Row>> {
        // The first one makes the daemon prepare more.
        self.once(0, None).await?;
        let subject = Subject::new(self.api.clone(), self.name).await?;
        let (mut full, mut without) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            subject.settle().await?;
            full.push(self.once(1000 + round, None).await?);
            // With limits of its own a sandbox is on no shelf.
            let limits = LimitsRequest { memory_mb: Some(1025), ..LimitsRequest::default() };
            subject.settle().await?;
            without.push(self.once(2000 + round, Some(limits)).await?);
        }
        let what = format!("create from `{}`, first program", self.name);
        Ok(vec![Row::of(&what, "from the shelf", full)?, Row::of(&what, "made while one waits", without)?])
    }

    /// A new sandbox and its first program: the seconds until its output. The deletion is not counted.
    async fn once(&self, number: u32, limits: Option<LimitsRequest>) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let request = CreateRequest { template: self.name.to_owned(), limits, ..CreateRequest::default() };
        let sandbox_id = self.api.create(Actor::Operator, request, None).await?.sandbox_id.to_string();
        let ran = self.execute(&sandbox_id, number).await;
        let seconds = begin.elapsed().as_secs_f64();
        self.api.delete(Actor::Operator, SandboxRequest { sandbox_id }).await?;
        ran?;
        Ok(seconds)
    }

    async fn execute(&self, sandbox: &str, number: u32) -> anyhow::Result<()> {
        let [before, after] = self.around;
        let request = ExecuteRequest {
            sandbox_id: sandbox.to_owned(),
            code: format!("{before}{number}{after}"),
            language: Some(self.language.to_owned()),
            ..ExecuteRequest::default()
        };
        let answer = self.api.execute(Actor::Operator, request).await?;
        ensure!(answer.status == ExecutionStatus::Completed, "it ended as {:?}: {}", answer.status, answer.stderr);
        ensure!(answer.output.trim() == number.to_string(), "it printed {:?}", answer.output);
        Ok(())
    }

    /// Programs in a sandbox that is there, each for a Node that waits, and the same for a Node that is started on the host.
    async fn beside_node(&self, home: &Path, rounds: u32) -> anyhow::Result<Vec<Row>> {
        let named = TemplateRequest { template_name: self.name.to_owned() };
        let layers = self.api.template(Actor::Operator, named).await?.template.layers;
        let root = home.join("bench").join("node");
        contender::mount(home, &layers, &root)?;
        let request = CreateRequest { template: self.name.to_owned(), ..CreateRequest::default() };
        let sandbox_id = self.api.create(Actor::Operator, request, None).await?.sandbox_id.to_string();
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // Until the next one waits.
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            let begin = Instant::now();
            self.execute(&sandbox_id, round).await?;
            ours.push(begin.elapsed().as_secs_f64());
            let mut command = Command::new("chroot");
            command.arg(&root).args(["/usr/bin/env", "node", "-e", &format!("console.log({round})")]).env_clear();
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin").stdin(Stdio::null());
            let begin = Instant::now();
            let done = command.output().context("running chroot")?;
            bare.push(begin.elapsed().as_secs_f64());
            let said = String::from_utf8_lossy(&done.stdout);
            ensure!(
                said.trim() == round.to_string(),
                "node printed {said:?}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        self.api.delete(Actor::Operator, SandboxRequest { sandbox_id }).await?;
        let what = "execute console.log(N)";
        let ours = Row::of(what, "ringfence, a Node that waits", ours)?;
        let mut bare = Row::of(what, "bare node", bare)?;
        bare.ours_is_quicker_by = Some(bare.p50 / ours.p50);
        Ok(vec![ours, bare])
    }
}
