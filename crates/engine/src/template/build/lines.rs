//! What steps print, as lines: some are for people, one is a list of packages.

use ringfence_model::api::Package;

/// Longest line that progress tells, in bytes of the output.
const LINE_BYTES_MAX: usize = 300;

/// Longest line that is looked at: the list of packages.
const LONG_LINE_BYTES_MAX: usize = 256 << 10;

/// Most packages that a template lists.
const PACKAGES_MAX: usize = 4096;

/// Cuts output into lines; carriage returns end one too, as progress bars use them.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn take(&mut self, bytes: &[u8], ended: bool) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                lines.push(std::mem::take(&mut self.begun));
            } else if self.begun.len() < LONG_LINE_BYTES_MAX {
                self.begun.push(byte);
            }
        }
        if ended && !self.begun.is_empty() {
            lines.push(std::mem::take(&mut self.begun));
        }
        lines
    }
}

/// Output of packages as text that a terminal may show.
pub(super) fn for_people(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]);
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

/// What a step lists.
pub(super) fn packages_of(json: &[u8]) -> Vec<Package> {
    let plain = |text: &str| text.len() <= 200 && !text.chars().any(char::is_control);
    let packages: Vec<Package> = serde_json::from_slice(json).unwrap_or_default();
    packages.into_iter().filter(|p| plain(&p.name) && plain(&p.version)).take(PACKAGES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut lines = Lines::default();
        let flood = vec![b'x'; LONG_LINE_BYTES_MAX * 2];
        assert!(lines.take(&flood, false).is_empty());
        let line = lines.take(b"\n", false).remove(0);
        assert_eq!((line.len(), for_people(&line).len()), (LONG_LINE_BYTES_MAX, LINE_BYTES_MAX));
    }
}
