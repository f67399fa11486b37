//! What an agent may open: no other hosts than the operator lets agents name (`agent_hosts`), whatever it was talked into.

use ringfence_model::{
    ApiError, Code,
    net::{HostName, HostPattern, Policy},
};

/// Whether an agent may ask for a policy.
///
/// # Errors
/// PERMISSION_DENIED, with the first host that it may not name and what the operator can do.
pub(super) fn check_policy(may: Option<&[HostPattern]>, policy: &Policy) -> Result<(), ApiError> {
    let (Some(may), Policy::List(rules)) = (may, policy) else { return Ok(()) };
    match rules.iter().map(|rule| &rule.host).find(|host| !may.iter().any(|one| one.covers(host))) {
        None => Ok(()),
        Some(host) => Err(refused(
            may,
            format!("`network`: agents may not name `{host}`"),
            &format!("`ringfence sandbox configure SANDBOX --allow {host}`"),
        )),
    }
}

/// Whether an agent may give a key of that name, which would open these hosts.
///
/// # Errors
/// As [`check_policy`].
pub(super) fn check_key(may: Option<&[HostPattern]>, name: &str, hosts: &[HostName]) -> Result<(), ApiError> {
    let Some(may) = may else { return Ok(()) };
    match hosts.iter().find(|host| !may.iter().any(|one| one.matches(host))) {
        None => Ok(()),
        Some(host) => Err(refused(
            may,
            format!("`{name}` would open `{host}`, which agents may not name"),
            &format!("`ringfence secret set {name}`, and name it in `secrets`"),
        )),
    }
}

fn refused(may: &[HostPattern], what: String, instead: &str) -> ApiError {
    let named: Vec<String> = may.iter().map(ToString::to_string).collect();
    let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
    let text = format!("{what}; those that the operator lets them name are: {named}. Ask the operator for {instead}");
    ApiError::new(Code::PermissionDenied, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn may(hosts: &[&str]) -> Vec<HostPattern> {
        hosts.iter().map(|host| HostPattern::parse(host).expect("a pattern")).collect()
    }

    fn policy(text: serde_json::Value) -> Policy {
        let network: ringfence_model::api::Network = serde_json::from_value(text).expect("a network");
        Policy::try_from(network).expect("a policy")
    }

    #[test]
    fn an_agent_names_what_the_operator_lets_it_and_nothing_wider() {
        let few = may(&["api.example.com", "*.alpaca.markets"]);
        let asks = |host: &str| check_policy(Some(&few), &policy(json!({"allow": [{"host": host}]})));
        for host in [
            "api.example.com",
            "API.example.com.",
            "paper-api.alpaca.markets",
            "*.alpaca.markets",
            "*.data.alpaca.markets",
        ] {
            assert_eq!(asks(host), Ok(()), "{host}");
        }
        for host in ["example.com", "*.example.com", "alpaca.markets", "api.example.com.evil.test", "notalpaca.markets"]
        {
            let error = asks(host).expect_err(host);
            assert_eq!(error.code, Code::PermissionDenied, "{host}");
            assert!(
                error.message.contains("*.alpaca.markets") && error.message.contains("--allow"),
                "{}",
                error.message
            );
        }
        // One rule that may not be is enough.
        let both = policy(json!({"allow": [{"host": "api.example.com"}, {"host": "evil.test"}]}));
        assert!(check_policy(Some(&few), &both).expect_err("refused").message.contains("`evil.test`"));
        for named in ["none", "packages"] {
            assert_eq!(check_policy(Some(&[]), &policy(json!(named))), Ok(()), "{named} names no host");
        }
        assert_eq!(check_policy(None, &both), Ok(()), "nothing was decided");
        assert!(check_policy(Some(&[]), &both).expect_err("refused").message.contains("are: none"));
    }

    #[test]
    fn a_key_opens_no_host_that_an_agent_may_not_name() {
        let hosts = [HostName::parse("api.anthropic.com").expect("a name")];
        check_key(Some(&may(&["*.alpaca.markets"])), "ANTHROPIC_API_KEY", &hosts).expect_err("refused");
        assert_eq!(check_key(Some(&may(&["api.anthropic.com"])), "ANTHROPIC_API_KEY", &hosts), Ok(()));
        assert_eq!(check_key(None, "ANTHROPIC_API_KEY", &hosts), Ok(()));
    }
}
