//! What a program may ask of the kernel, what it may see, and whom it may reach.

use std::{
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::fs::MetadataExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process::Command,
};

use super::stage::{AS_NOBODY, Control, Row, check};
use crate::common::shared;

const fn row(name: &'static str, reason: &'static str, control: Control) -> Row {
    Row { name, reason, control }
}

/// Succeeds for root in namespaces of its own.
const ROOT: Control = Control::Private("");

const NOBODY: Control = Control::Private(AS_NOBODY);

/// Not built into every kernel.
const BUILT: Control = Control::Perhaps("ENOSYS");

#[tokio::test]
async fn namespaces_mounts_and_other_processes_are_out_of_reach() {
    // A key in root's session keyring, and a process that is root no longer.
    const KEYRING: Control = Control::Private(
        "import fcntl, tempfile; call(248, b'user', b'ringfence-attack', b'ringfence-secret', 16, -3)\n\
         os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)",
    );
    check(
        "",
        concat!(include_str!("kernel.py"), "\n\n", include_str!("rights.py")),
        &[
            row("mount", "EPERM", ROOT),
            row("remount", "EPERM", ROOT),
            row("umount", "EPERM", ROOT),
            row("pivot_root", "EPERM", ROOT),
            row("chroot", "EPERM", ROOT),
            row("fsopen", "EPERM", ROOT),
            row("fspick", "EPERM", ROOT),
            row("open_tree", "EPERM", ROOT),
            row("move_mount", "EPERM", ROOT),
            row("mount_setattr", "EPERM", ROOT),
            row("unshare_user", "EPERM", NOBODY),
            row("unshare_mount", "EPERM", ROOT),
            row("unshare_net", "EPERM", ROOT),
            row("clone_user", "EPERM", NOBODY),
            row("clone_pid", "EPERM", ROOT),
            row("clone_high_bits", "EPERM", NOBODY),
            row("clone_sibling", "EPERM", Control::Host("")),
            row("clone3_user", "ENOSYS", NOBODY),
            row("setns_own", "EPERM", ROOT),
            row("setns_init", "ENOENT", ROOT),
            row("ptrace_me", "EPERM", NOBODY),
            row("ptrace_seize", "EPERM", ROOT),
            row("process_vm_readv", "EPERM", NOBODY),
            row("process_vm_writev", "EPERM", NOBODY),
            row("process_madvise", "EPERM", NOBODY),
            row("kcmp", "EPERM", Control::Perhaps("ENOSYS")),
            row("pidfd_open", "ENOSYS", NOBODY),
            row("pidfd_getfd", "ENOSYS", NOBODY),
            row("keyctl", "EPERM", NOBODY),
            row("add_key", "EPERM", NOBODY),
            row("request_key", "EPERM", NOBODY),
            row("session_keyring_of_root", "EPERM", KEYRING),
            row("kill_init", "EPERM", ROOT),
            row("setuid_program", "uid user stays", NOBODY),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_kernel_s_rarer_calls_are_refused() {
    check(
        "",
        concat!(include_str!("kernel.py"), "\n\n", include_str!("rights.py")),
        &[
            row("bpf", "EPERM", BUILT),
            row("perf_event_open", "EPERM", BUILT),
            row("userfaultfd", "EPERM", BUILT),
            row("io_uring_setup", "ENOSYS", BUILT),
            row("io_uring_enter", "ENOSYS", BUILT),
            row("io_uring_register", "ENOSYS", BUILT),
            row("modify_ldt", "EPERM", BUILT),
            row("no_address_randomisation", "EPERM", NOBODY),
            row("iopl", "EPERM", BUILT),
            row("ioperm", "EPERM", BUILT),
            row("swapon", "EPERM", BUILT),
            row("init_module", "EPERM", BUILT),
            row("finit_module", "EPERM", BUILT),
            row("delete_module", "EPERM", BUILT),
            row("kexec_load", "EPERM", BUILT),
            row("reboot", "EPERM", ROOT),
            row("settimeofday", "EPERM", ROOT),
            row("clock_settime", "EPERM", ROOT),
            row("adjtimex", "EPERM", ROOT),
            row("acct", "EPERM", BUILT),
            row("syslog", "EPERM", ROOT),
            row("quotactl", "EPERM", BUILT),
            row("fanotify", "EPERM", BUILT),
            row("name_to_handle_at", "EPERM", BUILT),
            row("open_by_handle_at", "EPERM", BUILT),
            row("sethostname", "EPERM", ROOT),
            row("move_pages", "EPERM", BUILT),
            row("vmsplice", "EPERM", ROOT),
            row("memfd_secret", "EPERM", BUILT),
            row("posix_queue", "ENOSYS", BUILT),
            row("shm_lock", "EPERM", ROOT),
            row("x32_abi", "EPERM", BUILT),
            row("int80_abi", "ENOSYS", Control::Perhaps("signal 11")),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_was_taken_away_stays_away() {
    check(
        "",
        concat!(include_str!("kernel.py"), "\n\n", include_str!("rights.py")),
        &[
            row("a_wider_filter", "EPERM", ROOT),
            row("filter_removed", "EPERM", ROOT),
            row("new_privileges_allowed_again", "no_new_privs", ROOT),
            row("capset_all", "EPERM", ROOT),
            row("become_root", "EPERM", ROOT),
            row("join_groups", "EPERM", ROOT),
            row("real_time", "EPERM", ROOT),
            row("deadline_class", "EPERM", ROOT),
            row("nice_minus_20", "EACCES", ROOT),
            row("real_time_io", "EPERM", ROOT),
            row("core_limit_raised", "EPERM", ROOT),
            row("core_limit_lowered", "EPERM", ROOT),
            row("core_limit_prlimit", "EPERM", ROOT),
            row("type_into_terminal", "EPERM", ROOT),
            row("type_into_terminal_high_bits", "EPERM", ROOT),
            row("paste_into_console", "EPERM", ROOT),
            row("line_discipline", "EPERM", ROOT),
            row("tcp_upper_layer", "EPERM", ROOT),
            row("trusted_attribute", "EPERM", ROOT),
            row("file_capabilities", "EPERM", ROOT),
            row("immutable_file", "EPERM", Control::Perhaps("ENOTTY")),
            row("give_file_away", "EPERM", ROOT),
            row("block_device", "EPERM", ROOT),
            row("character_device", "EPERM", ROOT),
        ],
    )
    .await;
}

#[tokio::test]
async fn only_four_kinds_of_sockets_exist() {
    const EPERM: &str = "EPERM";
    let table = [
        row("packet", EPERM, ROOT),
        row("packet_datagram", EPERM, ROOT),
        row("raw_icmp", EPERM, ROOT),
        row("raw_any", EPERM, ROOT),
        row("raw_icmp6", EPERM, BUILT),
        row("ping", EPERM, Control::Perhaps("EACCES")),
        row("netlink_uevent", EPERM, ROOT),
        row("unix_protocol", EPERM, ROOT),
        row("interface_changed", EPERM, ROOT),
        row("every_socket", EPERM, ROOT),
    ];
    let not_everywhere = [
        "vsock",
        "vsock_high_bits",
        "alg",
        "mptcp",
        "mptcp6",
        "sctp",
        "dccp",
        "udplite",
        "udplite6",
        "ax25",
        "ipx",
        "rds",
        "can",
        "tipc",
        "bluetooth",
        "kcm",
        "qipcrtr",
        "smc",
        "xdp",
        "netlink_sock_diag",
        "netlink_netfilter",
        "netlink_audit",
        "netlink_generic",
        "netlink_crypto",
        "netlink_xfrm",
    ];
    let rows: Vec<Row> = table.into_iter().chain(not_everywhere.map(|name| row(name, EPERM, BUILT))).collect();
    check("", include_str!("sockets.py"), &rows).await;
}

#[tokio::test]
async fn no_address_leads_anywhere() {
    let tcp = TcpListener::bind("0.0.0.0:0").expect("a port");
    let name = format!("ringfence-attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let unix = UnixListener::bind_addr(&address).expect("an abstract socket");
    let addresses = Command::new("hostname").arg("-I").output().expect("hostname(1)");
    let list: Vec<String> =
        String::from_utf8_lossy(&addresses.stdout).split_whitespace().map(|a| format!("{a:?}")).collect();
    let port = tcp.local_addr().expect("bound").port();
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let path = dir.path().join("control.sock");
    let file = UnixListener::bind(&path).expect("a socket in the file system");
    let header = format!(
        "HOST_ADDRESSES = [{}]; HOST_PORT = {port}; HOST_SOCKET = {name:?}; HOST_SOCKET_FILE = {path:?}",
        list.join(", ")
    );
    // The control's network is one of its own, in which every address is local too, and somebody listens.
    const ROUTED: Control = Control::Private(
        "import socket; os.system('ip route add local 0.0.0.0/0 dev lo; ip route add local ::/0 dev lo'); \
         discard = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); discard.bind(('::', 9))",
    );
    check(
        &header,
        include_str!("sockets.py"),
        &[
            row("every_address", "ECONNREFUSED", ROUTED),
            row("service_of_the_host", "ECONNREFUSED", Control::Host("")),
            row("abstract_socket_of_the_host", "ECONNREFUSED", Control::Host("")),
            row("socket_files_of_the_host", "none", Control::Host("")),
        ],
    )
    .await;
    drop((tcp, unix, file));
}

#[tokio::test]
async fn nothing_of_the_host_can_be_seen() {
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let file = dir.path().join("secret");
    std::fs::write(&file, "ringfence-secret\n").expect("written");
    let null = std::fs::metadata("/dev/null").expect("every host has one");
    let header = format!(
        "HOST_FILE = {file:?}; HOST_HOME = {:?}; HOST_DEV_NULL = ({}, {})",
        shared_path(&tokio::task::spawn_blocking(shared).await.expect("the daemon starts").to_string_lossy()),
        null.dev(),
        null.ino(),
    );
    const NEW_USER_NAMESPACE: Control = Control::Private("call(272, 0x10000000)");
    const INHERITS: Control = Control::Private("INHERITED = os.open('/etc/shadow', os.O_RDONLY)");
    check(
        &header,
        include_str!("files.py"),
        &[
            row("environment_of_init", "ENOENT", ROOT),
            row("memory_of_init", "ENOENT", ROOT),
            row("descriptors_of_init", "ENOENT", ROOT),
            row("root_of_init", "ENOENT", ROOT),
            row("other_processes", "invisible", Control::Host("")),
            row("kcore", "ENOENT", Control::Perhaps("ENOENT")),
            row("kallsyms", "empty", BUILT),
            row("kernel_stack", "EACCES", BUILT),
            row("kernel_slabs", "empty", BUILT),
            row("kernel_messages", "empty", ROOT),
            row("kernel_command_line", "empty", ROOT),
            row("modules_and_devices", "empty", ROOT),
            row("system_settings", "EROFS", ROOT),
            row("core_pattern", "ENOENT", ROOT),
            row("sysrq", "ENOENT", Control::Perhaps("ENOENT")),
            row("sysfs", "empty", ROOT),
            row("own_cgroup", "no cgroup file system", ROOT),
            row("uid_map", "EPERM", NEW_USER_NAMESPACE),
            row("oom_score_lowered", "EACCES", Control::Perhaps("EACCES")),
            row("devices", "ENOENT", ROOT),
            row("harmless_devices_are_not_the_host_s", "another inode", ROOT),
            row("file_of_the_host", "ENOENT", ROOT),
            row("descriptors_of_the_host", "none", INHERITS),
            row("paths_of_the_host", "relative", ROOT),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_shared_with_others_cannot_be_written() {
    check(
        "",
        include_str!("files.py"),
        &[
            row("library_of_the_interpreter", "EACCES", ROOT),
            row("directory_of_the_interpreter", "EACCES", ROOT),
            row("interpreter_through_its_own_link", "EROFS", ROOT),
        ],
    )
    .await;
}

/// Mountinfo escapes what is not plain; the directories of tests are.
fn shared_path(path: &str) -> &str {
    assert!(!path.contains([' ', '\\', '\n']), "{path}");
    path
}
