//! The gateway's role: what the daemon prepares for it as root, and how it begins as its own user.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    net::IpAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, bail};
use ringfence_egress::{
    gate::{self, Gateway},
    tls::{
        authority::Authority,
        bundle::{CertificateDer, certificates_in, trust_bundle},
        client::Roots,
    },
};
use ringfence_jail::{build, gateway, gateway::ToGateway, supervise, sys};
use ringfence_model::{
    LayerDigest,
    net::{
        HostPattern, PortRange, Rule, TlsMode,
        control::{Call, FromGate, GateOp, LINE_BYTES_MAX},
    },
};
use ringfence_store::SecretValue;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{Semaphore, mpsc},
};

use super::pip::{Login, PipSettings};
use crate::config::{Config, GateConfig, Registry, TradeConfig};

/// Where programs look for what to trust: OpenSSL and what is linked with it, and the lists that Python packages bring along.
const TRUST_FILES: [&str; 4] = [
    "etc/ssl/certs/ca-certificates.crt",
    // Where the OpenSSL that Node brings along looks.
    "etc/ssl/cert.pem",
    "usr/local/lib/python3.11/dist-packages/certifi/cacert.pem",
    "usr/lib/python3/dist-packages/pip/_vendor/certifi/cacert.pem",
];

/// Lays down, as a layer, what programs in sandboxes trust, and where pip finds packages. Makes the gate's authority where there is none yet.
pub(super) fn trust_layer(home: &Path, config: &Config, pip: &PipSettings) -> anyhow::Result<LayerDigest> {
    let authority = Authority::load_or_create(&home.join("gate"), SystemTime::now()).context("the gate's authority")?;
    let bundle = trust_bundle(&authority, &extra_roots(&config.gate)?);
    let unfinished = home.join("builds").join("trust");
    if unfinished.exists() {
        build::remove::tree(&unfinished).context("removing an unfinished layer")?;
    }
    let files = TRUST_FILES.map(|name| (name, bundle.as_str())).into_iter();
    for (name, text) in files.chain([("etc/pip.conf", pip.conf().as_str())]) {
        let path = unfinished.join("rootfs").join(name);
        fs::create_dir_all(path.parent().unwrap_or(&unfinished)).context("making the layer of certificates")?;
        let mut file = fs::File::create(&path).context("making the layer of certificates")?;
        file.write_all(text.as_bytes()).context("writing the certificates")?;
    }
    Ok(build::seal_dir(&unfinished, &home.join("layers"))?.0)
}

/// What the gateway alone reads: arguments of a process are seen by others.
const LOGINS_FILE: &str = "registries.json";

/// Questions about trading that are under way at once.
const APART_MAX: usize = 64;

/// Fewest bytes of a login that can be kept out of answers.
const LOGIN_BYTES_MIN: usize = 8;

/// Lays down who the gate says it is at the operator's registries.
pub(super) fn write_logins(home: &Path, logins: &[Login]) -> anyhow::Result<()> {
    let path = home.join("gate").join(LOGINS_FILE);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context("removing the logins of before"),
        _ if logins.is_empty() => return Ok(()),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("making {}", path.display()))?;
    file.write_all(&serde_json::to_vec(logins)?).context("writing the logins of registries")
}

fn read_logins(home: &Path) -> anyhow::Result<Vec<gate::Login>> {
    let text = match fs::read(home.join(LOGINS_FILE)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context("reading the logins of registries"),
    };
    let logins: Vec<Login> = serde_json::from_slice(&text).context("reading the logins of registries")?;
    let (long, short): (Vec<_>, Vec<_>) = logins.into_iter().partition(|login| login.login.len() >= LOGIN_BYTES_MIN);
    for login in short {
        tracing::warn!(host = %login.host, "a login of fewer than {LOGIN_BYTES_MIN} bytes could not be kept out of answers, and is not used");
    }
    let made =
        |Login { host, port, login }| gate::Login { host, port, value: SecretValue::new(login.as_bytes()).into() };
    Ok(long.into_iter().map(made).collect())
}

/// What the role is told at its start.
pub(super) fn arguments(config: &Config) -> anyhow::Result<Vec<String>> {
    Ok(vec![serde_json::to_string(&config.gate)?, serde_json::to_string(&config.trade)?])
}

fn extra_roots(config: &GateConfig) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let mut all = Vec::new();
    for path in &config.extra_roots {
        let pem = fs::read(path).with_context(|| format!("reading the certificates in {path}"))?;
        let found = certificates_in(&pem).with_context(|| format!("reading the certificates in {path}"))?;
        if found.is_empty() {
            bail!("{path} holds no certificate in PEM");
        }
        all.extend(found);
    }
    Ok(all)
}

/// Plays the role until the daemon ends.
pub(super) fn role(args: &[String]) -> anyhow::Result<i32> {
    let [home, config, trade] = args else { bail!("wrong arguments") };
    let jailer = sys::inherited_fd(supervise::CONTROL_FD).context("taking the socket to the jailer")?;
    let serve = StdStream::from(sys::inherited_fd(supervise::DOOR_FD).context("taking the socket to serve")?);
    sys::raise_descriptor_limit().context("raising the descriptor limit")?;
    super::log::init(&["hyper=warn", "h2=warn", "rustls=warn"])?;
    let config: GateConfig = serde_json::from_str(config).context("reading the configuration")?;
    let trade: TradeConfig = serde_json::from_str(trade).context("reading the configuration of trading")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(run(PathBuf::from(home).join("gate"), &config, &trade, jailer, serve))
}

async fn run(
    home: PathBuf,
    config: &GateConfig,
    trade: &TradeConfig,
    jailer: OwnedFd,
    serve: StdStream,
) -> anyhow::Result<i32> {
    let roots = Roots::system().context("what the system trusts")?.with(&extra_roots(config)?)?;
    for told in roots.told() {
        tracing::warn!(told, "a certificate of the system's store cannot be used");
    }
    let registries = config.registries.iter().map(registry).collect::<anyhow::Result<_>>()?;
    let (pins, stand_ins) = pins(config)?;
    let cache = config.cache.settings();
    let open_allowed = config.open_allowed;
    let logins = read_logins(&home)?;
    let exchange = home.parent().unwrap_or(&home).join("run").join("venue").join("api.sock");
    let settings = gate::Config {
        home,
        pins,
        stand_ins,
        roots,
        registries,
        logins,
        open_allowed,
        agent_hosts: config.agent_hosts.clone(),
        live_allowed: trade.live_allowed,
        pause_on_misuse: config.pause_on_misuse,
        cache,
        exchange,
    };
    let (gateway, told) = Gateway::start(settings).await.context("starting the gateway")?;
    serve.set_nonblocking(true)?;
    let mut from_jailer = read_jailer(jailer)?;
    let sockets = async {
        while let Some((word, fds)) = from_jailer.recv().await {
            match (word, <[OwnedFd; 2]>::try_from(fds)) {
                (ToGateway::Opened { shell }, Ok([tcp, dns])) => gateway.opened(shell.0, tcp, dns),
                (ToGateway::Opened { .. }, Err(_)) => {}
                (ToGateway::Closed { shell }, _) => gateway.closed(shell.0),
            }
        }
    };
    // Either's end is the daemon's, or that of a gateway that is to be replaced.
    tokio::select! {
        () = sockets => tracing::debug!("the jailer's socket closed"),
        served = answer(UnixStream::from_std(serve)?, &gateway, told) => served.context("speaking with serve")?,
    }
    drop(gateway);
    Ok(0)
}

/// What is allowed of a registry: everything, and seen into, so that its answers can be kept.
fn registry(registry: &Registry) -> anyhow::Result<Rule> {
    let rule = Rule { tls: TlsMode::Intercept, ..Rule::host(HostPattern::exact(registry.host.clone())) };
    Ok(match registry.port {
        Some(port) => Rule { ports: vec![PortRange::new(port, port)?], ..rule },
        None => rule,
    })
}

/// What names are pinned to, with others in place of loopback addresses: a sandbox's loopback is its own.
fn pins(config: &GateConfig) -> anyhow::Result<(gate::Pins, HashMap<IpAddr, IpAddr>)> {
    /// Nobody's (RFC 5737), above the address of the sandboxes' resolver.
    const FIRST: u8 = 128;
    let mut stand_ins = HashMap::new();
    let mut pins = gate::Pins::new();
    for (name, addresses) in &config.pins {
        let mut given = Vec::new();
        for address in addresses {
            if !address.is_loopback() {
                given.push(*address);
                continue;
            }
            let known = stand_ins.iter().find(|(_, real)| *real == address).map(|(stand_in, _)| *stand_in);
            given.push(match known {
                Some(stand_in) => stand_in,
                None => {
                    let next = u8::try_from(stand_ins.len()).ok().and_then(|taken| FIRST.checked_add(taken));
                    let next = next.context("names are pinned to more than 128 loopback addresses")?;
                    let stand_in = IpAddr::from([192, 0, 2, next]);
                    stand_ins.insert(stand_in, *address);
                    stand_in
                }
            });
        }
        pins.insert(name.clone(), given);
    }
    Ok((pins, stand_ins))
}

/// Reads the jailer's socket in a thread of its own: descriptors come with its datagrams, which tokio does not read.
fn read_jailer(socket: OwnedFd) -> io::Result<mpsc::UnboundedReceiver<(ToGateway, Vec<OwnedFd>)>> {
    gateway::greet(socket.as_fd())?;
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("gate-sockets".into()).spawn(move || {
        loop {
            let mut poll = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut poll, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            match gateway::receive(socket.as_fd()) {
                Ok(None) => {}
                Ok(Some(word)) => {
                    if sender.send(word).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        tracing::error!(%error, "the jailer's socket failed");
                    }
                    return;
                }
            }
        }
    })?;
    Ok(receiver)
}

/// Answers `serve` and tells it of refusals until its socket closes. Lines go out in the order in which they were made, so that
/// an answer comes after the refusals before it.
async fn answer(
    stream: UnixStream,
    gateway: &Gateway,
    mut told: mpsc::UnboundedReceiver<FromGate>,
) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let (out, mut lines) = mpsc::unbounded_channel::<FromGate>();
    let writes = async move {
        loop {
            let (answer, refusal) = tokio::select! {
                refusal = told.recv() => (None, refusal),
                answer = lines.recv() => (answer, None),
            };
            if answer.is_none() && refusal.is_none() {
                return anyhow::Ok(());
            }
            let mut bytes = Vec::new();
            let mut say = |word: &FromGate| {
                serde_json::to_writer(&mut bytes, word)?;
                bytes.push(b'\n');
                anyhow::Ok(())
            };
            refusal.iter().try_for_each(&mut say)?;
            // What was refused before the answer was made is there by now, and goes before it.
            while let Ok(refusal) = told.try_recv() {
                say(&refusal)?;
            }
            answer.iter().try_for_each(&mut say)?;
            write.write_all(&bytes).await?;
        }
    };
    // What is about trading may wait for a venue, and holds up nothing else.
    let apart = Arc::new(Semaphore::new(APART_MAX));
    let reads = async move {
        let mut read = BufReader::new(read);
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            if (&mut read).take(most).read_until(b'\n', &mut line).await? == 0 {
                return anyhow::Ok(());
            }
            let Call { id, op } = serde_json::from_slice(&line).context("a call that is not understood")?;
            if matches!(op, GateOp::Trade(_) | GateOp::Figures) {
                let turn = apart.clone().acquire_owned().await.context("asking venues")?;
                let (call, out) = (gateway.call_apart(op), out.clone());
                tokio::spawn(async move {
                    let result = call.await;
                    drop(turn);
                    let _ = out.send(FromGate::Answer { id, result });
                });
                continue;
            }
            // One after the other: a sandbox is attached before its policy is changed, and forgotten after.
            let result = gateway.call(op).await;
            if id != 0 {
                let _ = out.send(FromGate::Answer { id, result });
            } else if let Err(error) = result {
                tracing::error!(%error, "a wish of serve was not fulfilled");
            }
        }
    };
    tokio::select! {
        done = writes => done,
        done = reads => done,
    }
}
