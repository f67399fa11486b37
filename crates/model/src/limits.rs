//! What one sandbox may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Upper bounds on what one sandbox uses. The defaults are those of a small working machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time, in thousandths of a CPU (1000 = one full CPU).
    pub cpu_millis: u32,
    /// Memory of all processes, files in memory and kernel objects together, in MiB.
    pub memory_mib: u32,
    /// Bytes on disk, in MiB.
    pub disk_mib: u32,
    /// Processes and threads together.
    pub processes: u32,
    /// Open descriptors of one process.
    pub descriptors: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu_millis: 1000, memory_mib: 1024, disk_mib: 1024, processes: 256, descriptors: 1024 }
    }
}

/// A limit outside the range that this program ever grants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit `{name}` is {value}; it must be between {min} and {max}")]
pub struct LimitOutOfRange {
    /// Field of [`Limits`].
    pub name: &'static str,
    /// What was asked for.
    pub value: u32,
    /// Smallest value granted.
    pub min: u32,
    /// Largest value granted.
    pub max: u32,
}

impl Limits {
    /// The smallest and largest value of each limit: `(name, min, max)`.
    pub const BOUNDS: [(&'static str, u32, u32); 5] = [
        ("cpu_millis", 10, 64_000),
        ("memory_mib", 32, 65_536),
        ("disk_mib", 1, 65_536),
        ("processes", 8, 16_384),
        ("descriptors", 64, 20_000),
    ];

    /// Checks every limit against [`Self::BOUNDS`].
    ///
    /// # Errors
    /// The first limit that is out of range.
    pub fn check(&self) -> Result<(), LimitOutOfRange> {
        let values = [self.cpu_millis, self.memory_mib, self.disk_mib, self.processes, self.descriptors];
        for (value, (name, min, max)) in values.into_iter().zip(Self::BOUNDS) {
            if !(min..=max).contains(&value) {
                return Err(LimitOutOfRange { name, value, min, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_bounds() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn each_limit_is_checked() {
        for (name, min, max) in Limits::BOUNDS {
            for value in [min - 1, max + 1, 0, u32::MAX] {
                let mut json = serde_json::to_value(Limits::default()).expect("limits are plain numbers");
                json[name] = value.into();
                let limits: Limits = serde_json::from_value(json).expect("the field exists");
                assert_eq!(limits.check().expect_err("out of range").name, name);
            }
        }
    }
}
