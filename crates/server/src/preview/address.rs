//! Whether a request is for a preview, and for which. Decided from its target and its one `Host` alone.

use axum::http::{HeaderMap, Uri, header};
use ringfence_model::SandboxId;

use super::credential::COOKIE;
use crate::guard::is_local;

/// How a preview was addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// By a name of its own, which is an origin of its own.
    Name,
    /// Below a path of the daemon's name.
    Path,
}

/// Where a visitor wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) sandbox: SandboxId,
    pub(super) port: u16,
    pub(super) form: Form,
    /// The one `Host`, as it came.
    pub(super) host: String,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// No preview: the API's guard judges it.
    Other,
    /// Something below the path of previews that is no address of one.
    Nonsense,
    /// A preview.
    Preview(Address),
}

/// What a request asks for. One without exactly one `Host`, or whose target names another, is no preview's.
pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Asked {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return Asked::Other;
    };
    if uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return Asked::Other;
    }
    if let Some((port, sandbox)) = named(host) {
        return Asked::Preview(Address { sandbox, port, form: Form::Name, host: host.to_owned() });
    }
    let Some(rest) = uri.path().strip_prefix("/preview/").filter(|_| is_local(host)) else { return Asked::Other };
    let mut segments = rest.splitn(3, '/');
    match (segments.next().map(SandboxId::parse), segments.next().and_then(port)) {
        (Some(Ok(sandbox)), Some(port)) => {
            Asked::Preview(Address { sandbox, port, form: Form::Path, host: host.to_owned() })
        }
        _ => Asked::Nonsense,
    }
}

/// `PORT-SANDBOXID.localhost`, in whatever case, with any port of ours or none. Nothing before, between or behind.
fn named(host: &str) -> Option<(u16, SandboxId)> {
    let name = match host.rsplit_once(':') {
        Some((name, digits)) => {
            let is_port = !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
            is_port.then_some(name)?
        }
        None => host,
    };
    let name = name.to_ascii_lowercase();
    let (number, id) = name.strip_suffix(".localhost")?.split_once('-')?;
    Some((port(number)?, SandboxId::parse(id).ok()?))
}

/// A port, written in the one way.
fn port(digits: &str) -> Option<u16> {
    let port: u16 = digits.parse().ok()?;
    (port > 0 && port.to_string() == digits).then_some(port)
}

impl Address {
    /// What stands before the program's own paths.
    pub(super) fn prefix(&self) -> String {
        match self.form {
            Form::Name => String::new(),
            Form::Path => format!("/preview/{}/{}", self.sandbox, self.port),
        }
    }

    /// The target as the program reads it: path and query.
    pub(super) fn inside(&self, uri: &Uri) -> String {
        let path = uri.path().strip_prefix(self.prefix().as_str()).filter(|path| path.starts_with('/')).unwrap_or("/");
        match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// The target as the visitor writes it, whole: a path that begins with two slashes leads to no other host.
    pub(super) fn outside(&self, uri: &Uri) -> String {
        format!("http://{}{}{}", self.host, self.prefix(), self.inside(uri))
    }

    /// Where `/preview/SANDBOXID/PORT` leads, whose relative links would be wrong.
    pub(super) fn with_slash(&self, uri: &Uri) -> Option<String> {
        (self.form == Form::Path && uri.path() == self.prefix()).then(|| self.outside(uri))
    }

    /// What a visitor is to keep, for this preview and no other.
    pub(super) fn cookie(&self, token: &str) -> String {
        format!("{COOKIE}={token}; Path={}/; HttpOnly; SameSite=Lax", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ihhhhhhhhhhhhhhhhhhhh";

    fn ask(target: &str, hosts: &[&str]) -> Asked {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a value"));
        }
        of(&target.parse().expect("a target"), &headers)
    }

    #[track_caller]
    fn found(target: &str, host: &str) -> Address {
        match ask(target, &[host]) {
            Asked::Preview(address) => address,
            other => panic!("{target} at {host}: {other:?}"),
        }
    }

    #[test]
    fn a_name_of_a_preview_is_that_and_nothing_else() {
        for host in ["8000-ID.localhost", "8000-ID.localhost:7433", "8000-ID.LOCALHOST:1"] {
            for host in [host.replace("ID", ID), host.replace("ID", &ID.to_uppercase())] {
                let address = found("/x?y", &host);
                assert_eq!((address.port, address.sandbox.as_str(), address.form), (8000, ID, Form::Name), "{host}");
            }
        }
        for host in [
            "8000-ID.localhost.",
            "8000-ID.localhost.evil.com",
            "a.8000-ID.localhost",
            "8000-ID.localhost:",
            "8000-ID.localhost:7433:7433",
            "8000-ID.localhost:123456",
            "8000-ID.localhost@evil.com",
            "x@8000-ID.localhost",
            "0-ID.localhost",
            "08000-ID.localhost",
            "+8000-ID.localhost",
            "65536-ID.localhost",
            "-ID.localhost",
            "8000-IDx.localhost",
            "8000-.localhost",
            "8000-ID",
            "ID.localhost",
            "localhost",
            "evil.com",
            "[8000-ID.localhost]",
        ] {
            let host = host.replace("ID", ID);
            assert_eq!(ask("/", &[&host]), Asked::Other, "{host}");
        }
    }

    #[test]
    fn two_names_in_one_request_are_no_previews() {
        let (a, b) = (format!("8000-{ID}.localhost"), format!("8000-i{}.localhost", "b".repeat(20)));
        assert_eq!(ask("/", &[&a, &b]), Asked::Other);
        assert_eq!(ask("/", &[&a, &a]), Asked::Other);
        assert_eq!(ask("/", &[]), Asked::Other);
        assert_eq!(ask(&format!("http://{b}/"), &[&a]), Asked::Other);
        assert_eq!(ask(&format!("http://{a}/"), &["localhost"]), Asked::Other);
        assert_eq!(found(&format!("http://{a}/"), &a).sandbox.as_str(), ID);
    }

    #[test]
    fn a_path_of_a_preview_is_below_the_daemons_own_name() {
        let path = |rest: &str| format!("/preview/{ID}/{rest}");
        for host in ["localhost:7433", "127.0.0.1:7433", "[::1]:7433"] {
            assert_eq!(found(&path("8000/"), host).form, Form::Path);
        }
        assert_eq!(ask(&path("8000/"), &["evil.com"]), Asked::Other);
        for target in ["/preview/", "/preview/x/8000/", &path(""), &path("0/"), &path("http/"), &path("8000x/")] {
            assert_eq!(ask(target, &["localhost"]), Asked::Nonsense, "{target}");
        }
        assert_eq!(ask("/previews", &["localhost"]), Asked::Other);
        // At a name of a preview every path is the program's.
        assert_eq!(found(&path("1/"), &format!("8000-{ID}.localhost")).port, 8000);
    }

    #[test]
    fn targets_are_what_the_program_expects() {
        let host = "localhost:7433";
        for (rest, inside) in [
            ("8000/", "/"),
            ("8000/a/b?c=d", "/a/b?c=d"),
            ("8000/../x", "/../x"),
            ("8000//evil.com/", "//evil.com/"),
            ("8000?q", "/?q"),
        ] {
            let target: Uri = format!("/preview/{ID}/{rest}").parse().expect("a target");
            let address = found(&target.to_string(), host);
            assert_eq!(address.inside(&target), inside);
            assert_eq!(address.outside(&target), format!("http://{host}/preview/{ID}/8000{inside}"));
            assert_eq!(address.with_slash(&target).is_some(), rest == "8000?q");
        }
        let target: Uri = "//evil.com/".parse().expect("a target");
        let host = format!("8000-{ID}.localhost:7433");
        let outside = Address { host: host.clone(), ..found("/", &host) }.outside(&target);
        assert!(outside.starts_with(&format!("http://{host}/")), "{outside}");
    }
}
