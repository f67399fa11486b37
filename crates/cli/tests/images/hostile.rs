//! An image whose programs are somebody else's: what they reach while a template is built over it.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use crate::{
    common::{ringfence, shared},
    layout::{Dir, Layout, debian},
    own::Own,
};

/// An image whose `python3` looks round in the network instead of installing packages.
fn image(port: u16) -> Layout {
    let mut image = Layout::new();
    for layer in debian(shared()) {
        image.tree(&layer);
    }
    let evil = tempfile::tempdir().expect("a directory");
    let bin = evil.path().join("usr/local/bin");
    fs::create_dir_all(&bin).expect("directories");
    fs::create_dir_all(evil.path().join("srv/packages")).expect("directories");
    let text = format!(
        "#!/bin/bash\nexec 3<> /dev/tcp/127.0.0.1/{port}\ncase \"$*\" in *sysconfig*) echo /srv/packages;; esac\nexit 0\n"
    );
    fs::write(bin.join("python3"), text).expect("a program");
    fs::set_permissions(bin.join("python3"), fs::Permissions::from_mode(0o755)).expect("mode");
    image.tree(evil.path());
    image
}

/// How many have come since the last time.
fn visitors(listener: &TcpListener) -> usize {
    std::iter::from_fn(|| listener.accept().ok()).count()
}

fn build(home: &Path, dir: &Dir) {
    let built = ringfence(home, &["template", "build", &dir.path()]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// Steps that download share the host's network. Over an image they are the image's own programs.
#[tokio::test(flavor = "multi_thread")]
async fn programs_of_an_image_reach_no_network_of_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it does not wait");
    let image = image(listener.local_addr().expect("bound").port());
    let recipe = |name: &str, more: &str| {
        let dir = Dir::new(name, &format!("language = \"bash\"\noci = \"image.tar\"\n{more}"));
        dir.file("requirements.lock", "six==1.17.0 --hash=sha256:00\n");
        image.archive(&dir.at("image.tar"));
        dir
    };
    let lock = recipe("image-lock", "lock = \"requirements.lock\"\n");
    let script = recipe("image-script", "[[build]]\nrun = \"python3\"\nas = \"root\"\n[[build]]\nrun = \"python3\"\n");

    let own = Own::new().await;
    let said = own.refused(&lock);
    assert!(said.contains("image_downloads"), "{said}");
    build(&own.home, &script);
    assert_eq!(visitors(&listener), 0, "a step over the image has reached the host's loopback");
    drop(own);

    // The control: the operator trusts the image, and the same programs reach it.
    let own = Own::with("image_downloads = true\n").await;
    build(&own.home, &lock);
    assert!(visitors(&listener) > 0, "they would have reached it");
    build(&own.home, &recipe("image-script-again", "[[build]]\nrun = \"python3; true\"\nas = \"root\"\n"));
    assert_eq!(visitors(&listener), 0, "scripts have no network even then");
}
