//! What a person pastes to connect an MCP client.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::daemon;

/// Name under which clients register the server, so that they show `mcp__flow-nexus__sandbox_create`.
const SERVER_NAME: &str = "flow-nexus";

/// Both ways to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct McpConfig {
    /// This program.
    pub(crate) program: PathBuf,
    /// State directory, when it is not the usual one.
    pub(crate) home: PathBuf,
}

impl McpConfig {
    /// For this program and that state directory.
    ///
    /// # Errors
    /// The program's own path cannot be found.
    pub(crate) fn of(named: Option<&Path>) -> anyhow::Result<Self> {
        let home = daemon::home(named);
        let home = std::path::absolute(&home).unwrap_or(home);
        Ok(Self { program: std::env::current_exe()?, home })
    }

    /// The arguments after the program's path.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["mcp".to_owned()];
        if self.home != Path::new(daemon::HOME_DEFAULT) {
            arguments.extend(["--home".to_owned(), self.home.display().to_string()]);
        }
        arguments
    }

    /// The line for Claude Code.
    pub(crate) fn claude_line(&self) -> String {
        let words = std::iter::once(self.program.display().to_string()).chain(self.arguments());
        let words: Vec<String> = words.map(|word| quoted(&word)).collect();
        format!("claude mcp add {SERVER_NAME} -- {}", words.join(" "))
    }

    /// The line for Claude Code over HTTP. The token is read when the line is run, and is not in it.
    pub(crate) fn claude_http_line(&self) -> String {
        format!(
            "claude mcp add --transport http {SERVER_NAME} {} --header \"Authorization: Bearer $(sudo cat {})\"",
            url(),
            quoted(&self.token_file())
        )
    }

    /// Where the token for HTTP is.
    pub(crate) fn token_file(&self) -> String {
        self.home.join("run").join("token").display().to_string()
    }

    /// The JSON that most clients take.
    pub(crate) fn stdio(&self) -> Value {
        json!({"mcpServers": {SERVER_NAME: {"command": self.program, "args": self.arguments()}}})
    }

    /// Both variants, for programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "stdio": self.stdio(),
            "http": {"url": url(), "token_file": self.token_file(), "header": "Authorization: Bearer TOKEN"},
            "claude": self.claude_line(),
        })
    }
}

fn url() -> String {
    format!("http://{}/mcp", daemon::TCP_DEFAULT)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(&b));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(program: &str, home: &str) -> McpConfig {
        McpConfig { program: program.into(), home: home.into() }
    }

    #[test]
    fn the_usual_home_is_not_spelled_out() {
        let config = config("/usr/local/bin/ringfence", daemon::HOME_DEFAULT);
        assert_eq!(config.claude_line(), "claude mcp add flow-nexus -- /usr/local/bin/ringfence mcp");
        assert_eq!(
            config.stdio(),
            json!({"mcpServers": {"flow-nexus": {"command": "/usr/local/bin/ringfence", "args": ["mcp"]}}})
        );
    }

    #[test]
    fn paths_with_spaces_are_quoted_for_the_shell_and_not_in_json() {
        let config = config("/home/a b/ringfence", "/srv/it's");
        assert_eq!(
            config.claude_line(),
            r"claude mcp add flow-nexus -- '/home/a b/ringfence' mcp --home '/srv/it'\''s'"
        );
        assert_eq!(config.stdio()["mcpServers"]["flow-nexus"]["args"], json!(["mcp", "--home", "/srv/it's"]));
    }

    #[test]
    fn no_token_is_in_the_configuration() {
        let config = config("/bin/ringfence", "/srv/x");
        assert_eq!(config.to_json()["http"]["token_file"], "/srv/x/run/token");
        assert!(config.claude_http_line().contains("$(sudo cat /srv/x/run/token)"));
    }
}
