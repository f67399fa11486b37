//! The files with which procfs's non-pid entries are covered: what a program wants to know of its own machine, as large
//! as the sandbox is, and nothing of the host.
//!
//! Entries that are not made here are covered by an empty file or directory. Formats: proc(5).

use std::{fs, io, path::Path};

use crate::capture::RESOLVER;

/// Writes the files for a sandbox of that size into `dir`, which is made. `kernel` is the release (`uname -r`).
///
/// # Errors
/// errno of the file that failed.
pub fn write(dir: &Path, memory_mib: u32, cpus: u32, kernel: &str, cpu_model: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (name, text) in files(memory_mib, cpus, kernel, cpu_model) {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    fs::create_dir_all(dir.join(EMPTY_DIRECTORY))?;
    Ok(())
}

/// The file that covers entries without a synthetic one.
pub const EMPTY_FILE: &str = ".empty";

/// The directory that covers entries without a synthetic one.
pub const EMPTY_DIRECTORY: &str = ".empty-directory";

fn files(memory_mib: u32, cpus: u32, kernel: &str, cpu_model: &str) -> Vec<(&'static str, String)> {
    let total_kib = u64::from(memory_mib) * 1024;
    let memory = [
        ("MemTotal", total_kib),
        ("MemFree", total_kib / 10 * 9),
        ("MemAvailable", total_kib / 10 * 9),
        ("Buffers", 0),
        ("Cached", total_kib / 20),
        ("SwapCached", 0),
        ("Active", total_kib / 20),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Shmem", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
    ];
    let meminfo = memory.iter().map(|(name, kib)| format!("{:<15}{kib:>9} kB\n", format!("{name}:"))).collect();
    let cpuinfo = (0..cpus)
        .map(|cpu| {
            format!(
                "processor\t: {cpu}\nmodel name\t: {cpu_model}\ncpu MHz\t\t: 2000.000\nphysical id\t: 0\nsiblings\t: {cpus}\n\
                 core id\t\t: {cpu}\ncpu cores\t: {cpus}\nflags\t\t: fpu\n\n"
            )
        })
        .collect();
    let mut stat = String::from("cpu  0 0 0 0 0 0 0 0 0 0\n");
    for cpu in 0..cpus {
        stat.push_str(&format!("cpu{cpu} 0 0 0 0 0 0 0 0 0 0\n"));
    }
    stat.push_str("intr 0\nctxt 0\nbtime 0\nprocesses 0\nprocs_running 1\nprocs_blocked 0\n");
    vec![
        (EMPTY_FILE, String::new()),
        ("meminfo", meminfo),
        ("cpuinfo", cpuinfo),
        ("stat", stat),
        ("uptime", "1.00 1.00\n".into()),
        ("loadavg", "0.00 0.00 0.00 1/1 1\n".into()),
        ("version", format!("Linux version {kernel} (ringfence)\n")),
        ("filesystems", "nodev\tproc\nnodev\ttmpfs\nnodev\toverlay\n".into()),
        ("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into()),
        ("vmstat", "nr_free_pages 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n".into()),
        ("sys/kernel/ostype", "Linux\n".into()),
        ("sys/kernel/osrelease", format!("{kernel}\n")),
        ("sys/kernel/version", "#1 SMP\n".into()),
        ("sys/kernel/hostname", String::new()),
        ("sys/kernel/domainname", "(none)\n".into()),
        ("sys/kernel/pid_max", "32768\n".into()),
        ("sys/kernel/threads-max", "32768\n".into()),
        ("sys/kernel/cap_last_cap", "40\n".into()),
        ("sys/kernel/ngroups_max", "65536\n".into()),
        ("sys/kernel/random/boot_id", String::new()),
        ("sys/kernel/random/entropy_avail", "256\n".into()),
        ("sys/vm/overcommit_memory", "0\n".into()),
        ("sys/vm/max_map_count", "65530\n".into()),
        ("sys/net/core/somaxconn", "4096\n".into()),
        ("sys/fs/file-max", "1048576\n".into()),
        ("sys/fs/nr_open", "1048576\n".into()),
        ("sys/fs/pipe-max-size", "1048576\n".into()),
    ]
}

/// Files that each sandbox has of its own: (name below the per-shell directory, content).
#[must_use]
pub fn own_files(hostname: &str, machine_id: &str) -> [(&'static str, String); 5] {
    let id = machine_id;
    // A boot id is a random UUID (random(4)); this one is made from the machine id, which is random.
    let boot_id = format!("{}-{}-4{}-a{}-{}", &id[24..32], &id[20..24], &id[17..20], &id[13..16], &id[0..12]);
    [
        ("hostname", format!("{hostname}\n")),
        ("hosts", format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{hostname}\n")),
        ("machine-id", format!("{machine_id}\n")),
        ("boot_id", format!("{boot_id}\n")),
        // A refusal is an answer, and quick, if it is asked for once; so is the kernel's while there is no gateway. The
        // time is what the gateway may need to look up a name that is allowed.
        ("resolv.conf", format!("nameserver {RESOLVER}\noptions timeout:5 attempts:1\n")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_has_the_shape_of_a_uuid() {
        let files = own_files("i0", "0123456789abcdef0123456789abcdef");
        let boot_id = files[3].1.trim();
        let lengths: Vec<usize> = boot_id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{boot_id}");
    }
}
