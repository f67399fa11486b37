//! Equity of many runs in one file: what the statistics about luck and the joined curves of walk-forwards are made of. It does not
//! belong into a database.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use super::{files::Files, row::Row};

/// Equity of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Curves {
    /// At each bar.
    pub(crate) whole: Vec<f64>,
    /// Growth on each stretch on which a walk-forward judges: equity at its bars by what it began with.
    pub(crate) tests: Vec<Vec<f64>>,
}

const MAGIC: &[u8; 8] = b"rfcurv1\n";
/// Bytes of a file when it is read: 512 runs of a million bars would be less.
const BYTES_MAX: u64 = 2 << 30;

/// Writes runs.
///
/// # Errors
/// The compressor's.
pub(crate) fn encode(runs: &[Curves]) -> io::Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    let count = |bytes: &mut Vec<u8>, n: usize| bytes.extend((n as u64).to_le_bytes());
    count(&mut bytes, runs.len());
    for run in runs {
        count(&mut bytes, 1 + run.tests.len());
        for curve in std::iter::once(&run.whole).chain(&run.tests) {
            count(&mut bytes, curve.len());
            bytes.extend(curve.iter().flat_map(|v| v.to_bits().to_le_bytes()));
        }
    }
    zstd::bulk::compress(&bytes, 1)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// It is something else.
pub(crate) fn decode(file: &[u8]) -> io::Result<Vec<Curves>> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "no file of equity curves");
    let mut bytes = Vec::new();
    zstd::Decoder::new(file)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(odd)?;
    fn count(rest: &mut &[u8]) -> Option<usize> {
        let (head, tail) = rest.split_first_chunk::<8>()?;
        *rest = tail;
        // A count larger than what follows is none.
        usize::try_from(u64::from_le_bytes(*head)).ok().filter(|n| *n <= tail.len())
    }
    fn curve(rest: &mut &[u8]) -> Option<Vec<f64>> {
        let bytes = count(rest)?.checked_mul(8)?;
        let (head, tail) = rest.split_at_checked(bytes)?;
        *rest = tail;
        let value = |chunk: &[u8]| f64::from_bits(u64::from_le_bytes(chunk.try_into().expect("chunks of eight")));
        Some(head.chunks_exact(8).map(value).collect())
    }
    let mut runs = Vec::new();
    for _ in 0..count(&mut rest).ok_or_else(odd)? {
        let curves = count(&mut rest).filter(|n| *n > 0).ok_or_else(odd)?;
        let whole = curve(&mut rest).ok_or_else(odd)?;
        let tests = (1..curves).map(|_| curve(&mut rest).ok_or_else(odd)).collect::<io::Result<_>>()?;
        runs.push(Curves { whole, tests });
    }
    if rest.is_empty() { Ok(runs) } else { Err(odd()) }
}

/// Files that are open at a time, of a few hundred runs each.
const OPEN_MAX: usize = 8;

/// Reads equity run by run, without holding all of it.
pub(crate) struct Reader {
    files: Files,
    open: VecDeque<(String, Vec<Curves>)>,
}

impl Reader {
    pub(crate) fn new(files: Files) -> Self {
        Self { files, open: VecDeque::new() }
    }

    /// The equity of a run; nothing when it was not kept, or cannot be read any more.
    pub(crate) fn get(&mut self, row: &Row) -> Option<&Curves> {
        let (file, place) = row.curve.as_ref()?;
        if !self.open.iter().any(|(open, _)| open == file) {
            let kept = match self.files.get(file).and_then(|bytes| decode(&bytes)) {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::error!(file, %error, "equity that was kept cannot be read");
                    Vec::new()
                }
            };
            if self.open.len() >= OPEN_MAX {
                self.open.pop_front();
            }
            self.open.push_back((file.clone(), kept));
        }
        let (_, kept) = self.open.iter().find(|(open, _)| open == file)?;
        kept.get(*place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_read_back_bit_for_bit() {
        let runs = vec![
            Curves { whole: vec![100.0, 0.1 + 0.2, f64::MIN_POSITIVE], tests: vec![vec![], vec![1.5]] },
            Curves::default(),
        ];
        let file = encode(&runs).expect("written");
        assert_eq!(decode(&file).expect("read"), runs);
        let mut plain = MAGIC.to_vec();
        plain.extend(u64::MAX.to_le_bytes());
        for odd in [&b""[..], b"rfcurv1\n", &plain, &file[..file.len() - 4]] {
            decode(odd).expect_err("refused");
            decode(&zstd::bulk::compress(odd, 1).expect("compressed")).expect_err("refused");
        }
    }
}
