//! What the command line says of itself outside of `--help`: completions of shells and pages of man(1). Both are made of the commands
//! as they are, so that nothing is left out.

use std::io;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::args::Cli;

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "names of shells")]
pub(crate) enum Completed {
    Bash,
    Zsh,
    Fish,
}

impl Completed {
    /// Each.
    pub(crate) const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// The file that the shell looks for below a prefix: completions of bash-completion(7), functions of zsh's `fpath`, fish's
    /// directory for vendors.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Bash => "share/bash-completion/completions/ringfence",
            Self::Zsh => "share/zsh/site-functions/_ringfence",
            Self::Fish => "share/fish/vendor_completions.d/ringfence.fish",
        }
    }
}

/// The script that completes `ringfence` there.
pub(crate) fn completions(shell: Completed) -> Vec<u8> {
    let shell = match shell {
        Completed::Bash => Shell::Bash,
        Completed::Zsh => Shell::Zsh,
        Completed::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringfence", &mut script);
    script
}

/// The page of the whole, in roff.
///
/// # Errors
/// None that is known: it is written to memory.
pub(crate) fn top() -> io::Result<Vec<u8>> {
    page(built()).map(|(_, page)| page)
}

/// A page for each command, with the name of its file: `ringfence-sandbox-create.1`.
///
/// # Errors
/// See [`top`].
pub(crate) fn all() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut waiting = vec![built()];
    let mut pages = Vec::new();
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
        pages.push(page(command)?);
    }
    pages.sort();
    Ok(pages)
}

/// Each subcommand knows its whole name only then.
fn built() -> clap::Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

fn page(command: clap::Command) -> io::Result<(String, Vec<u8>)> {
    let man = clap_mangen::Man::new(command).manual("ringfence");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn every_command_has_a_page_and_every_shell_knows_it() {
        let pages = all().expect("pages");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["ringfence.1", "ringfence-sandbox.1", "ringfence-sandbox-create.1", "ringfence-trade-limits-set.1"]
        {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        let page = text(pages.iter().find(|(name, _)| name == "ringfence-sandbox-create.1").expect("there").1.clone());
        assert!(page.contains("\\-\\-memory\\-mb") && page.contains("ringfence\\-sandbox\\-create"), "{page}");
        for shell in Completed::ALL {
            let script = text(completions(shell));
            for word in ["sandbox", "configure", "memory-mb", "reconcile"] {
                assert!(script.contains(word), "{word}: {shell:?}");
            }
        }
    }
}
