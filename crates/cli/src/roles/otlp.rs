//! What `serve` tells a collector of OpenTelemetry's, where `config.toml` names one: what its log says, and a span for each request. A build
//! without the feature `otlp` cannot, and says so.

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod logs;
#[cfg(feature = "otlp")]
mod way;

use anyhow::bail;

#[cfg(feature = "otlp")]
pub(super) use export::start;

use crate::config::OtlpConfig;

/// Refuses a collector that this build could tell nothing.
///
/// # Errors
/// One is named, and the feature is missing.
pub(super) fn check(config: &OtlpConfig) -> anyhow::Result<()> {
    if config.endpoint.is_some() && !cfg!(feature = "otlp") {
        bail!(
            "config.toml names a collector (`endpoint` in [otlp]), and this build of ringfence has no OTLP: build it with \
             `cargo build --release --features otlp`, or remove the key"
        );
    }
    Ok(())
}

/// Without the feature there is nobody to tell: [`check`] has refused.
///
/// # Errors
/// Never.
#[cfg(not(feature = "otlp"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
pub(super) fn start(
    _endpoint: &str,
    _build: &str,
    _runtime: &tokio::runtime::Handle,
) -> anyhow::Result<(Option<super::log::Beside>, ())> {
    Ok((None, ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_feature_says_so_and_one_with_it_does_not() {
        assert!(check(&OtlpConfig::default()).is_ok());
        let config: OtlpConfig = toml::from_str("endpoint = \"http://127.0.0.1:4318\"").expect("right");
        let checked = check(&config);
        assert_eq!(checked.is_ok(), cfg!(feature = "otlp"));
        if let Err(error) = checked {
            assert!(error.to_string().contains("--features otlp"), "{error}");
        }
    }
}
